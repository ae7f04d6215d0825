"""What the decoder's model asks of a way to fine-tune CLIP; the base class is a frozen CLIP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ovs_core.clip import CLIP
from ovs_core.errors import UserError

from .once import StepClock


class Adaptation(nn.Module):
    """A CLIP that is left as it is; methods change weights, tokens or outputs.

    Attributes:
        mode: value of ``MODEL.CATSEG.FINETUNE`` that makes it.
        trains_text: whether text features change during training.
        foldable: whether the adapted towers can be written as a plain CLIP.
        clock: tells which training step it is, for what is computed once per step.
    """

    mode: ClassVar[str]
    trains_text: ClassVar[bool] = True
    foldable: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.clock = StepClock()

    def begin_step(self, clip: CLIP) -> None:
        """Begin a training step: compute adapted weights before any block runs.

        Gradient checkpointing must not see them being computed: its second pass finds them ready.

        Args:
            clip: the adapted CLIP.
        """
        self.clock.tick()
        for module, name in parametrized(clip):
            getattr(module, name)

    def edit_tokens(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Change the image tokens (B, L, C) that enter block ``index``."""
        return tokens

    def finish_image(self, tokens: Tensor, taps: dict[int, Tensor]) -> Tensor:
        """Change the last image block's output (B, L, C), knowing the outputs of ``image_taps``."""
        return tokens

    def image_taps(self) -> tuple[int, ...]:
        """Image blocks whose outputs ``finish_image`` needs."""
        return ()


class Frozen(Adaptation):
    """CLIP as it is (row "Freeze" of Table 3)."""

    mode = "freeze"
    trains_text = False


def recompute_blocks(clip: CLIP, adaptation: Adaptation) -> None:
    """Let blocks of CLIP be computed again in the backward pass instead of kept.

    Args:
        clip: the adapted CLIP; changed in place.
        adaptation: its adaptation.

    Raises:
        UserError: if no gradient goes through CLIP.
    """
    if adaptation.image_taps():
        raise UserError(
            f"MODEL.CATSEG.GRADIENT_CHECKPOINTING does nothing for MODEL.CATSEG.FINETUNE "
            f"{adaptation.mode}, which sends no gradient through CLIP; switch it off"
        )
    clip.parts.set_grad_checkpointing(True)


def fold_into_clip(adaptation: Adaptation, clip: CLIP) -> None:
    """Write adapted weights into the CLIP for good; afterwards it is a plain open_clip model.

    Args:
        adaptation: the CLIP's adaptation; it must not be used any more.
        clip: changed in place.

    Raises:
        UserError: if the adaptation adds modules or tokens, which no plain CLIP has.
    """
    if not adaptation.foldable:
        raise UserError(
            f"{type(adaptation).__name__} adds parts that a plain CLIP does not have and cannot "
            "be merged; hclip, oft, lora, ssf, attention and full can"
        )
    for module, name in parametrized(clip):
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    clip.model.requires_grad_(False)


def towers(clip: CLIP) -> dict[str, Transformer]:
    """The transformers of both towers, ``text`` and ``image``."""
    return {"text": clip.model.transformer, "image": clip.visual.transformer}


def blocks(clip: CLIP) -> Iterator[ResidualAttentionBlock]:
    """All transformer blocks, image tower first."""
    both = towers(clip)
    yield from both["image"].resblocks
    yield from both["text"].resblocks


def unadapted(module: nn.Module, name: str) -> Tensor:
    """Give a parametrized weight as the pretrained CLIP has it."""
    kept = module.get_submodule(f"parametrizations.{name}")
    assert isinstance(kept, parametrize.ParametrizationList)
    return kept.original


def parametrized(clip: CLIP) -> list[tuple[nn.Module, str]]:
    """Modules of a CLIP with the names of their adapted weights."""
    return [
        (module, name)
        for module in clip.model.modules()
        for name in getattr(module, "parametrizations", ())
    ]
