"""Large-scale jitter, the augmentation of published detectors and panoptic segmenters."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import transforms as T


def large_scale_jitter(cfg: CfgNode) -> list[T.Augmentation]:
    """Flip, scale by a factor of ``INPUT.{MIN,MAX}_SCALE``, crop or pad to ``INPUT.IMAGE_SIZE``."""
    size = cfg.INPUT.IMAGE_SIZE
    flip = [] if cfg.INPUT.RANDOM_FLIP == "none" else [
        T.RandomFlip(
            horizontal=cfg.INPUT.RANDOM_FLIP == "horizontal",
            vertical=cfg.INPUT.RANDOM_FLIP == "vertical",
        )
    ]  # fmt: skip
    scale = T.ResizeScale(cfg.INPUT.MIN_SCALE, cfg.INPUT.MAX_SCALE, size, size)
    return [*flip, scale, T.FixedSizeCrop((size, size))]
