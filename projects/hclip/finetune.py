"""Choosing a way to fine-tune CLIP by one key, ``MODEL.CATSEG.FINETUNE``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ovs_core.clip import CLIP
from ovs_core.errors import UserError, nearest

from .adaptation import Adaptation, Frozen
from .modules import Adapter, LadderTuning, VisualPrompts
from .once import StepClock
from .pop import POPSettings
from .rotation import POPAdaptation
from .weights import SSF, AttentionTuning, FullTuning, LoRA

MODES = (
    "hclip", "oft", "attention", "full", "freeze", "lora", "vpt", "adapter", "lst", "ssf",
)  # fmt: skip


@dataclass(frozen=True)
class FinetuneSettings:
    """How CLIP is fine-tuned.

    Attributes:
        mode: one of ``MODES``.
        pop: switches of H-CLIP, also read by ``oft``.
        lora_rank: r of LoRA.
        adapter_width: inner width of the adapters.
        prompt_length: visual prompt tokens per block.
        prompt_depth: image blocks with prompts; 0 for all.
        lst_widths: side widths of the ladder (image, text).
    """

    mode: str = "hclip"
    pop: POPSettings = field(default_factory=POPSettings)
    lora_rank: int = 64
    adapter_width: int = 128
    prompt_length: int = 250
    prompt_depth: int = 0
    lst_widths: tuple[int, int] = (256, 224)

    def __post_init__(self) -> None:
        """Refuse an unknown mode and empty parts."""
        if self.mode not in MODES:
            raise UserError(
                f"MODEL.CATSEG.FINETUNE: '{self.mode}' is unknown.{nearest(self.mode, MODES)} "
                f"Known: {', '.join(MODES)}"
            )
        if min(self.lora_rank, self.adapter_width) < 1:
            raise UserError("MODEL.CATSEG.PEFT: LORA_RANK and ADAPTER_WIDTH must be at least 1")


def adapt(clip: CLIP, settings: FinetuneSettings, clock: StepClock) -> Adaptation:
    """Make the trainable part of a CLIP.

    Args:
        clip: a frozen CLIP; parametrized or extended in place.
        settings: which way, and its sizes.
        clock: ticked by the model at the start of every training step.

    Returns:
        The adaptation. What it added inside the CLIP is registered there.
    """
    makers = {
        "freeze": Frozen,
        "attention": lambda: AttentionTuning(clip),
        "full": lambda: FullTuning(clip),
        "hclip": lambda: POPAdaptation(clip, settings.pop, clock),
        # OFT is POP with both towers orthogonal and no communication between layers.
        "oft": lambda: POPAdaptation(
            clip, replace(settings.pop, orthogonal="both", dcrc=False, pop=True), clock
        ),
        "lora": lambda: LoRA(clip, settings.lora_rank, clock),
        "vpt": lambda: VisualPrompts(clip, settings.prompt_length, settings.prompt_depth),
        "adapter": lambda: Adapter(clip, settings.adapter_width),
        "lst": lambda: LadderTuning(clip, settings.lst_widths),
        "ssf": lambda: SSF(clip),
    }
    return makers[settings.mode]()
