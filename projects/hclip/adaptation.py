"""What the decoder's model asks of a way to fine-tune CLIP; the base class is a frozen CLIP."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ovs_core.clip import CLIP
from ovs_core.errors import UserError


class Adaptation(nn.Module):
    """A CLIP that is left as it is; methods change weights, tokens or outputs.

    Attributes:
        trains_text: whether text features change during training.
        foldable: whether the adapted towers can be written as a plain CLIP.
    """

    trains_text = True
    foldable = True

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

    trains_text = False


def fold(adaptation: Adaptation, clip: CLIP) -> None:
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
    for module in list(clip.model.modules()):
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    clip.model.requires_grad_(False)
