"""What depends on a picture alone, kept for other words on the same picture."""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T

from ..files.digests import digest
from ..modeling.scores import Size
from ..modeling.segmenter import Segmenter
from .tiles import split

Encoded = list[tuple[Size, Any]]  # size of each piece of a picture, and the model's features of it

MIN_SIDE = 32  # pixels; a smaller picture is enlarged before a network sees it

logger = logging.getLogger(__name__)


class PictureMemory:
    """Encodes pictures, and keeps the last of them. Not for several threads at once.

    Args:
        model: the method.
        tensor: (H, W, 3) uint8 RGB -> what the model encodes, (3, H', W').
        remember: how many are kept.
    """

    def __init__(
        self, model: Segmenter, tensor: Callable[[np.ndarray], torch.Tensor], remember: int
    ) -> None:
        self.remember = remember
        self._model, self._tensor = model, tensor
        self._kept: OrderedDict[str, Encoded] = OrderedDict()
        self._awaited: set[str] = set()  # encoded ahead, and not asked for yet

    def __call__(self, image: np.ndarray) -> Encoded:
        """Encode a picture, piece by piece if it is long, or find it among those that are kept."""
        key = _key(image)
        if key not in self._kept:
            pieces = split(image)
            shown = [(piece.shape[:2], self._tensor(piece)) for piece in pieces]
            self._kept[key] = [(size, self._model.encode_picture(one)) for size, one in shown]
        self._kept.move_to_end(key)
        encoded = self._kept[key]
        self._awaited.discard(key)
        known = [one for one in self._kept if one not in self._awaited]
        for old in known[: max(0, len(known) - self.remember)]:
            del self._kept[old]
        return encoded

    def ahead(self, images: Sequence[np.ndarray]) -> None:
        """Encode pictures that are asked for next; those that are shown at one size together.

        They are kept until then. Whatever goes wrong is only logged: each is encoded alone when its
        turn comes, and says what is wrong with it.

        Args:
            images: (H, W, 3) uint8 RGB each.
        """
        for left in self._awaited:
            self._kept.pop(left, None)
        pieces = {_key(image): split(image) for image in images}
        self._awaited = set(pieces)
        missing = {key: own for key, own in pieces.items() if key not in self._kept}
        shown = [piece for own in missing.values() for piece in own]
        if not shown:
            return
        try:
            encoded = iter(self._model.encode_pictures([self._tensor(piece) for piece in shown]))
        except Exception as error:  # whichever picture it is, the others are not to blame
            logger.warning("%d pictures are encoded one by one: %s", len(images), error)
            return
        for key, own in missing.items():
            self._kept[key] = [(piece.shape[:2], next(encoded)) for piece in own]

    def clear(self) -> None:
        """Keep none."""
        self._kept.clear()
        self._awaited.clear()


def to_tensor(
    prepare: Callable[[np.ndarray], np.ndarray] | None, image: np.ndarray
) -> torch.Tensor:
    """Bring a picture to what a model encodes: (3, H', W').

    Args:
        prepare: see ``Predictor``.
        image: (H, W, 3) uint8 RGB.
    """
    if prepare is not None:
        image = prepare(image)
    if min(image.shape[:2]) < MIN_SIDE:
        enlarge = T.ResizeShortestEdge(MIN_SIDE, sys.maxsize)
        image = enlarge.get_transform(image).apply_image(image)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _key(image: np.ndarray) -> str:
    return digest(image.tobytes()) + str(image.shape)
