"""Choosing a way to fine-tune CLIP by one key, ``MODEL.CATSEG.FINETUNE``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ovs_core.clip import CLIP
from ovs_core.errors import UserError, check_choice

from .adaptation import Adaptation, Frozen
from .modules import Adapter, LadderTuning, PromptTuning
from .pop import POPSettings
from .rotation import OFT, POPAdaptation
from .weights import SSF, AttentionTuning, FullTuning, LoRA


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
        check_choice("MODEL.CATSEG.FINETUNE", self.mode, MODES)
        if min(self.lora_rank, self.adapter_width) < 1:
            raise UserError("MODEL.CATSEG.PEFT: LORA_RANK and ADAPTER_WIDTH must be at least 1")


_MAKERS: dict[str, Callable[[CLIP, FinetuneSettings], Adaptation]] = {
    "hclip": lambda clip, settings: POPAdaptation(clip, settings.pop),
    "oft": lambda clip, settings: OFT(clip, settings.pop),
    "attention": lambda clip, settings: AttentionTuning(clip),
    "full": lambda clip, settings: FullTuning(clip),
    "freeze": lambda clip, settings: Frozen(),
    "lora": lambda clip, settings: LoRA(clip, settings.lora_rank),
    "vpt": lambda clip, settings: PromptTuning(clip, settings.prompt_length, settings.prompt_depth),
    "adapter": lambda clip, settings: Adapter(clip, settings.adapter_width),
    "lst": lambda clip, settings: LadderTuning(clip, settings.lst_widths),
    "ssf": lambda clip, settings: SSF(clip),
}
MODES = tuple(_MAKERS)


def adapt(clip: CLIP, settings: FinetuneSettings) -> Adaptation:
    """Make the trainable part of a CLIP.

    Its initial values are drawn apart: what is drawn behind it, such as the decoder's, is the same
    for every mode, so that trainings of two modes differ in the mode alone.

    Args:
        clip: a frozen CLIP; parametrized or extended in place.
        settings: which way, and its sizes.

    Returns:
        The adaptation. What it added inside the CLIP is registered there.
    """
    seed = int(torch.randint(2**62, (1,), device="cpu"))  # also where shapes alone are built
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _MAKERS[settings.mode](clip, settings)
