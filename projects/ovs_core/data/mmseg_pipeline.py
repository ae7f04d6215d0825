"""The input pipelines of mmsegmentation, as ZegCLIP uses them: OpenCV resampling, NumPy draws.

Pictures are RGB uint8 (H, W, 3) arrays, labels (H, W). Random numbers come from NumPy's global
generator in the published order, so that a seed gives the published crops and colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from ..errors import UserError
from ..words.label_space import IGNORE
from .mapper import SemanticDatasetMapper

CROP_TRIES = 10
BRIGHTNESS, CONTRAST, SATURATION, HUE = 32, (0.5, 1.5), (0.5, 1.5), 18


class MMSegDatasetMapper(SemanticDatasetMapper):
    """The suite's mapper with the pipelines of ``INPUT.MMSEG``."""

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read ``INPUT.MMSEG``, and the rest as the mapper it stands on."""
        arguments = super().from_config(cfg, is_train)
        return {**arguments, "augmentations": _augmentations(cfg, is_train)}


def _augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    node = cfg.INPUT.MMSEG
    if not is_train:
        return [_ShortSide(node.SHORT_SIDE, node.LONG_SIDE)] if node.SHORT_SIDE else []
    if min(*node.SCALE, *node.RATIO) <= 0 or node.RATIO[0] > node.RATIO[1]:
        raise UserError(
            f"INPUT.MMSEG: SCALE {list(node.SCALE)} and RATIO {list(node.RATIO)} must be positive, "
            "RATIO ascending"
        )
    augmentation = TrainingAugmentation(
        crop=node.CROP,
        scale=node.SCALE,
        ratio=node.RATIO,
        max_class_share=node.MAX_CLASS_SHARE,
        flip=node.FLIP,
        photometric=node.PHOTOMETRIC,
    )
    return [_Training(augmentation)]


class _Training(T.Augmentation):
    """``TrainingAugmentation`` as a Detectron2 augmentation."""

    def __init__(self, augmentation: TrainingAugmentation) -> None:
        super().__init__()
        self.augmentation = augmentation

    def __call__(self, aug_input: T.AugInput) -> T.Transform:
        """Change picture and labels in place; the draws cannot be replayed as a transform."""
        aug_input.image, aug_input.sem_seg = self.augmentation(aug_input.image, aug_input.sem_seg)
        return T.NoOpTransform()


class _ShortSide(T.Augmentation):
    """``resize_short_side`` as a Detectron2 augmentation of pictures without labels."""

    def __init__(self, short: int, longest: int) -> None:
        super().__init__()
        self.short, self.longest = short, longest

    def __call__(self, aug_input: T.AugInput) -> T.Transform:
        """Change the picture in place."""
        aug_input.image = resize_short_side(aug_input.image, self.short, self.longest)
        return T.NoOpTransform()


def resize_short_side(picture: np.ndarray, short: int, longest: int = 0) -> np.ndarray:
    """Scale a picture so that its short side has ``short`` pixels.

    Args:
        picture: (H, W, 3) uint8.
        short: pixels of the short side.
        longest: most pixels of the long side, which then decides; 0 for no limit.
    """
    sides = sorted(picture.shape[:2])
    factor = short / sides[0]
    if longest:
        factor = min(factor, longest / sides[1])
    return _resize(picture, factor, cv2.INTER_LINEAR)


class TrainingAugmentation:
    """Random scale, crop, flip and colours.

    Args:
        crop: side of the crop; smaller pictures stay smaller.
        scale: limits of the long and of the short side at ratio 1.
        ratio: range of the random factor on ``scale``.
        max_class_share: a crop is redrawn (10 times at most) while one class has this share of its
            labelled pixels, or it shows one class only; 1 for never.
        flip: probability of mirroring.
        photometric: whether colours are changed.
    """

    def __init__(
        self,
        *,
        crop: int,
        scale: Sequence[int] = (2048, 512),
        ratio: Sequence[float] = (0.5, 2.0),
        max_class_share: float = 0.75,
        flip: float = 0.5,
        photometric: bool = True,
    ) -> None:
        self.crop, self.scale, self.ratio = crop, tuple(scale), tuple(ratio)
        self.max_class_share, self.flip, self.photometric = max_class_share, flip, photometric

    def __call__(self, picture: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Augment a picture and its labels alike.

        Args:
            picture: (H, W, 3) uint8.
            labels: (H, W); ``IGNORE`` does not count as a class when a crop is judged.

        Returns:
            Picture and labels of at most ``crop`` x ``crop`` pixels.
        """
        low, high = self.ratio
        drawn = np.random.random_sample() * (high - low) + low
        limits = sorted(int(side * drawn) for side in self.scale)
        sides = sorted(labels.shape)
        factor = min(limit / side for limit, side in zip(limits, sides, strict=True))
        picture = _resize(picture, factor, cv2.INTER_LINEAR)
        labels = _resize(labels, factor, cv2.INTER_NEAREST)
        area = self._draw_crop(labels)
        picture, labels = picture[area], labels[area]
        if np.random.rand() < self.flip:
            picture, labels = picture[:, ::-1], labels[:, ::-1]
        if self.photometric:
            picture = distort_colours(picture)
        return np.ascontiguousarray(picture), np.ascontiguousarray(labels)

    def _draw_crop(self, labels: np.ndarray) -> tuple[slice, slice]:
        area = self._random_area(labels)
        for _ in range(CROP_TRIES if self.max_class_share < 1 else 0):
            classes, counts = np.unique(labels[area], return_counts=True)
            counts = counts[classes != IGNORE]
            if len(counts) > 1 and counts.max() / counts.sum() < self.max_class_share:
                break
            area = self._random_area(labels)
        return area

    def _random_area(self, labels: np.ndarray) -> tuple[slice, slice]:
        top, left = (np.random.randint(0, max(side - self.crop, 0) + 1) for side in labels.shape)
        return slice(top, top + self.crop), slice(left, left + self.crop)


def distort_colours(picture: np.ndarray) -> np.ndarray:
    """Change brightness, contrast, saturation and hue, each with probability one half.

    Args:
        picture: (H, W, 3) uint8 RGB.
    """
    if np.random.randint(2):
        picture = _linear(picture, offset=np.random.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast_first = np.random.randint(2)
    if contrast_first:
        picture = _random_contrast(picture)
    if np.random.randint(2):
        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _linear(hsv[..., 1], factor=np.random.uniform(*SATURATION))
        picture = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if np.random.randint(2):
        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + np.random.randint(-HUE, HUE)) % 180
        picture = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return picture if contrast_first else _random_contrast(picture)


def _random_contrast(picture: np.ndarray) -> np.ndarray:
    if np.random.randint(2):
        return _linear(picture, factor=np.random.uniform(*CONTRAST))
    return picture


def _linear(values: np.ndarray, *, factor: float = 1.0, offset: float = 0.0) -> np.ndarray:
    changed = values.astype(np.float32) * factor + offset
    return np.clip(changed, 0, 255).astype(np.uint8)


def _resize(array: np.ndarray, factor: float, interpolation: int) -> np.ndarray:
    height, width = (int(side * float(factor) + 0.5) for side in array.shape[:2])
    return cv2.resize(np.ascontiguousarray(array), (width, height), interpolation=interpolation)
