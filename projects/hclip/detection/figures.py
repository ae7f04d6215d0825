"""Pictures of detections, drawn with Detectron2's renderer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.structures import BoxMode, Instances
from detectron2.utils.visualizer import Visualizer

from ovs_core.draw import palette, sheet
from ovs_core.files.pictures import read_picture

from .model import HCLIPDetector

Record = Mapping[str, Any]


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str],
    colors: np.ndarray,
    *,
    side: int = 384,
) -> np.ndarray:
    """Draw labelled boxes.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (n, 4) left, top, right, bottom in pixels.
        labels: n texts.
        colors: (n, 3) uint8.
        side: a smaller picture is enlarged until its longer side has this many pixels.

    Returns:
        (H', W', 3) uint8.
    """
    canvas = Visualizer(image, scale=max(1.0, side / max(image.shape[:2])))
    drawn = canvas.overlay_instances(
        boxes=boxes, labels=list(labels), assigned_colors=[tuple(c / 255) for c in colors]
    )
    return drawn.get_image()


def draw_detections(
    image: np.ndarray, found: Instances, names: Sequence[str], *, threshold: float
) -> np.ndarray:
    """Draw the detections of a picture whose score is at least ``threshold``.

    Args:
        image: (H, W, 3) uint8 RGB.
        found: a detector's output at the picture's size.
        names: K words that ``pred_classes`` refers to.
        threshold: 0..1.
    """
    kept = found[found.scores >= threshold].to("cpu")
    classes = kept.pred_classes.tolist()
    texts = [f"{names[c]} {s:.2f}" for c, s in zip(classes, kept.scores.tolist(), strict=True)]
    return draw_boxes(image, kept.pred_boxes.tensor.numpy(), texts, palette(names)[classes])


def draw_truth(image: np.ndarray, record: Record, names: Sequence[str]) -> np.ndarray:
    """Draw the annotated boxes of a record."""
    boxes = [
        BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in record["annotations"]
    ]
    classes = [a["category_id"] for a in record["annotations"]]
    texts = [names[c] for c in classes]
    return draw_boxes(image, np.array(boxes).reshape(-1, 4), texts, palette(names)[classes])


def detection_sheet(
    model: HCLIPDetector,
    mapper: Callable[[Record], dict[str, Any]],
    records: Sequence[Record],
    *,
    threshold: float = 0.3,
) -> np.ndarray:
    """Set truth (where there is one) and detections of pictures side by side.

    Args:
        model: with words.
        mapper: the test mapper.
        records: Detectron2 dicts with ``file_name``, maybe with ``annotations``.
        threshold: lowest score shown.

    Returns:
        (H, W, 3) uint8, one row per picture.
    """
    names, rows = model.vocabulary.names, []
    with_truth = all("annotations" in record for record in records)
    for record in records:
        image = read_picture(record["file_name"])
        found = model([mapper(dict(record))])[0]["instances"]
        row = [draw_truth(image, record, names)] if with_truth else []
        rows.append([*row, draw_detections(image, found, names, threshold=threshold)])
    detected = f"detections, score from {threshold:g}"
    return sheet(rows, ["truth", detected] if with_truth else [detected])
