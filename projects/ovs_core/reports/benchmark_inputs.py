"""Words, pictures and training samples of any size, for timing without a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..data.build import build_mapper, evenly
from ..words.class_lists import load_class_list
from ..words.label_space import IGNORE
from ..words.vocabulary import Vocabulary
from .subjects import records_to_show

SQUARE = 64  # pixels of a region's side


def numbered_words(count: int) -> Vocabulary:
    """Take the first ``count`` ADE20K-847 names, then numbered ones."""
    names = list(load_class_list("ade20k_847").names)
    names += [f"thing number {i}" for i in range(len(names), count)]
    return Vocabulary.from_names(names[:count])


def smooth_picture(height: int, width: int) -> Tensor:
    """Make a picture with regions, so that clustering methods find something to cluster.

    Returns:
        (3, H, W) float32 RGB in 0..255.
    """
    seeds = torch.rand(1, 3, max(2, height // SQUARE), max(2, width // SQUARE)) * 255
    picture = torch.nn.functional.interpolate(seeds, size=(height, width), mode="nearest")[0]
    return (picture + 8 * torch.randn(3, height, width)).clamp(0, 255)


def pictures_as_shown(
    cfg: CfgNode, named: Sequence[Path], size: tuple[int, int], samples: int
) -> list[tuple[Tensor, tuple[int, int]]]:
    """Read a person's pictures as the test mapper shows them, or make one up.

    Args:
        cfg: finished config.
        named: files and folders; none for a made-up picture.
        size: (H, W) of that.
        samples: of a person's pictures, at most so many, evenly spaced.

    Returns:
        (3, H', W') RGB in 0..255 and (H, W) of the labels.

    Raises:
        UserError: for a picture that cannot be read.
    """
    if not named:
        return [(smooth_picture(*size), size)]
    mapper = build_mapper(cfg, is_train=False)
    records = evenly(records_to_show(cfg, named, 0), samples)
    shown = [mapper(record) for record in records]
    return [(one["image"], (one["height"], one["width"])) for one in shown]


def training_sample(size: tuple[int, int], classes: int, unlabelled: float = 0.0) -> dict[str, Any]:
    """Make a picture with a caption, and labels of at most eight classes in squares.

    Args:
        size: (H, W).
        classes: number of classes.
        unlabelled: share of the squares that have no label.

    Returns:
        ``image`` (3, H, W) uint8, ``sem_seg`` (H, W), ``instances``, a segment with the whole
        picture for its box for each label, and ``caption``, as training mappers give them.
    """
    height, width = size
    few = torch.randperm(classes)[:8]
    squares = few[torch.randint(0, len(few), (height // SQUARE + 1, width // SQUARE + 1))]
    squares[torch.rand(squares.shape) < unlabelled] = IGNORE
    labels = squares.repeat_interleave(SQUARE, 0).repeat_interleave(SQUARE, 1)[:height, :width]
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    sample = {"image": image, "sem_seg": labels.contiguous(), "height": height, "width": width}
    return {**sample, "instances": _segments(labels), "caption": "squares of noise"}


def _segments(labels: Tensor) -> Instances:
    """Each label of a map (H, W) as a segment."""
    height, width = labels.shape
    found = labels.unique()
    segments = Instances((height, width))
    segments.gt_classes = found[found != IGNORE]
    segments.gt_masks = labels == segments.gt_classes[:, None, None]
    box = torch.tensor([[0.0, 0.0, width, height]])
    segments.gt_boxes = Boxes(box.expand(len(segments.gt_classes), -1))
    return segments
