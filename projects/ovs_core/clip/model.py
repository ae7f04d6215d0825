"""A CLIP: an open_clip model with what is needed to feed it and to tell it from others."""

from __future__ import annotations

import open_clip
import torch
from torch import Tensor, nn

from .identity import ClipIdentity, fingerprint, text_tensors
from .tokenizer import Tokenizer
from .towers import ClipParts, clip_parts


class CLIP(nn.Module):
    """An open_clip model with what is needed to feed it.

    Attributes:
        model: the unmodified open_clip model.
        tokenizer: list of strings -> (P, context length) token ids.
        pixel_mean: (3, 1, 1) RGB mean in 0..255.
        pixel_std: (3, 1, 1) RGB standard deviation in 0..255.
        identity: what checkpoints and text caches know it by.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    identity: ClipIdentity

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        *,
        architecture: str,
        pretrained: str,
        pixel_mean: tuple[float, ...] = open_clip.OPENAI_DATASET_MEAN,
        pixel_std: tuple[float, ...] = open_clip.OPENAI_DATASET_STD,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        mean, std = torch.tensor(pixel_mean) * 255, torch.tensor(pixel_std) * 255
        self.register_buffer("pixel_mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", std.view(3, 1, 1), persistent=False)
        self.architecture = architecture
        # Taken now: a method may adapt the tower later, and its checkpoint names what it stood on.
        self.renew_identity(pretrained)

    @property
    def parts(self) -> ClipParts:
        """The parts of the open_clip model, with their types."""
        return clip_parts(self.model)

    @property
    def visual(self) -> nn.Module:
        """The image tower."""
        return self.parts.visual

    @property
    def embed_dim(self) -> int:
        """Width D of the joint space."""
        stated = getattr(self.visual, "output_dim", None)
        if stated is not None:
            return int(stated)
        # A timm tower does not say; the projection in its head does, or that behind its pooling.
        trunk = self.visual.get_submodule("trunk")
        for head in (self.visual.get_submodule("head"), getattr(trunk, "head", nn.Identity())):
            linear = [part.out_features for part in head.modules() if isinstance(part, nn.Linear)]
            if linear:
                return linear[-1]
        return int(trunk.num_features)  # type: ignore[arg-type]

    @property
    def logit_scale(self) -> float:
        """The stored temperature, ``exp(logit_scale)``."""
        return float(self.parts.logit_scale.detach().exp())

    def normalize(self, images: Tensor) -> Tensor:
        """Bring (B, 3, H, W) RGB pictures in 0..255 to CLIP's statistics, in float."""
        return (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std

    def renew_identity(self, pretrained: str, *, text_fingerprint: str = "") -> None:
        """Take the identity anew: whoever puts other weights into the model must call this.

        Args:
            pretrained: where the weights came from, see ``ClipIdentity``.
            text_fingerprint: of a text tower that something beside the model adapts; by default
                that of the model's own weights.
        """
        found = text_fingerprint or fingerprint(text_tensors(self.model))
        self.identity = ClipIdentity(self.architecture, pretrained, found)
