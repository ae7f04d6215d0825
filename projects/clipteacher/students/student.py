"""The wrapper that makes any dense network a student.

Letters: B pictures, C width of the text features, H x W pixels, h x w student grid.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ovs_core.errors import UserError
from ovs_core.modeling.pixel_statistics import IMAGENET_MEAN, IMAGENET_STD, PixelStatistics

from .last_convolution import Projection, take_last_convolution

logger = logging.getLogger(__name__)

PROBE = 64  # pixels, the least side of the picture that a network's output is looked at with


class Student(nn.Module):
    """A network of dense features, checked and brought to the text features' width.

    The last step is a 1 x 1 convolution, ``projection``: the network's own if it ends in one of C
    channels, else one that is added where the widths differ. At test time it is folded into the
    words, see ``inference.fold_words``.

    Args:
        network: (B, 3, H, W) normalised pictures -> (B, C', h, w), any h and w. A closing 1 x 1
            convolution of C channels moves from it to ``projection``.
        dim: C. If C' differs, a 1 x 1 convolution is added behind the network, and the log says so.
        pixel_mean: RGB mean in 0..255.
        pixel_std: RGB deviation in 0..255.
        size_divisibility: the network takes sides that are multiples of this.

    Raises:
        UserError: if the network does not give one four-dimensional map per picture.
    """

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        *,
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
        size_divisibility: int = 1,
    ) -> None:
        super().__init__()
        self.network, self.dim = network, dim
        self.size_divisibility = size_divisibility
        self.normalize = PixelStatistics(pixel_mean, pixel_std)
        self.projection = self._find_projection()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, C, h, w), neither normalised nor activated.

        Raises:
            UserError: if the network's output has another rank.
        """
        return self.projection(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, C', h, w), what ``projection`` gets."""
        return _checked(self.network(images), self.network)

    def _find_projection(self) -> Projection:
        side = self.size_divisibility * -(-PROBE // self.size_divisibility)
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        images = torch.zeros(1, 3, side, side, device=device)
        training = self.network.training
        self.network.eval()
        with torch.no_grad():
            width = self.features(images).shape[1]
        last = take_last_convolution(self.network, images, self.dim)
        self.network.train(training)
        if last is not None:
            return last
        if width == self.dim:
            return nn.Identity()
        logger.info(
            "the student gives %d channels, the text features have %d: a trained 1 x 1 "
            "convolution is put between them",
            width,
            self.dim,
        )
        return nn.Conv2d(width, self.dim, 1)


class Pyramid(nn.Module):
    """An encoder of several maps with a head behind it.

    Args:
        encoder: pictures -> list or dict of maps.
        head: maps -> (B, C, h, w).
    """

    def __init__(self, encoder: nn.Module, head: Callable[[Sequence[Tensor]], Tensor]) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""
        maps = self.encoder(images)
        return self.head(list(maps.values()) if isinstance(maps, dict) else maps)


def _checked(features: object, network: nn.Module) -> Tensor:
    if isinstance(features, Tensor) and features.ndim == 4:
        return features
    shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
    raise UserError(
        f"the student {type(network).__name__} must give one map (B, C, h, w), but gave {shape}; "
        "take the map out of its result in a small module around it"
    )
