"""Masks of instance files: are they whole, and what do they cover? H x W pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from .schema import InstanceAnnotation, RunLengths

TOLERANCE = 1.0  # pixels that a box or polygon may stick out: programs round
FEWEST = 6  # numbers of a polygon; fewer enclose nothing


@dataclass(frozen=True)
class Measured:
    """An object in its picture.

    Attributes:
        bbox: left, top, width, height.
        area: of the mask, or of the box without one.
        segmentation: in COCO's form, None without a mask.
        empty: why it covers nothing, or "".
    """

    bbox: list[float]
    area: float
    segmentation: list[list[float]] | dict[str, Any] | None
    empty: str = ""


def faults_of(annotation: InstanceAnnotation, height: int, width: int) -> list[str]:
    """What keeps an object from being used in its picture; each begins with the field."""
    found = []
    if annotation.bbox is None and not annotation.segmentation:
        found.append("bbox: is missing, and there is no mask to measure it from")
    if annotation.bbox is not None:
        found += _box_faults(annotation.bbox, height, width)
    if isinstance(annotation.segmentation, RunLengths):
        found += _run_faults(annotation.segmentation, height, width)
    for place, polygon in enumerate(_polygons(annotation)):
        found += [f"segmentation[{place}]: {f}" for f in _polygon_faults(polygon, height, width)]
    return found


def measure(annotation: InstanceAnnotation, height: int, width: int) -> Measured:
    """Complete an object that has no fault.

    Polygons of less than three points enclose nothing and are left out.
    """
    segmentation = _coco_form(annotation)
    code = None
    if annotation.segmentation and (annotation.bbox is None or annotation.area is None):
        code = _encode(segmentation, height, width)
    bbox = annotation.bbox if annotation.bbox is not None else coco_mask.toBbox(code).tolist()
    area = annotation.area
    if area is None:
        area = float(bbox[2] * bbox[3] if code is None else coco_mask.area(code))
    empty = "its box has no width or no height" if min(bbox[2:]) <= 0 else ""
    if annotation.segmentation and segmentation == []:
        empty = "its polygons have less than three points"
    return Measured(list(bbox), area, segmentation or None, empty)


def _polygons(annotation: InstanceAnnotation) -> list[list[float]]:
    return annotation.segmentation if isinstance(annotation.segmentation, list) else []


def _coco_form(annotation: InstanceAnnotation) -> list[list[float]] | dict[str, Any]:
    if isinstance(annotation.segmentation, RunLengths):
        return annotation.segmentation.model_dump()
    return [polygon for polygon in _polygons(annotation) if len(polygon) >= FEWEST]


def _encode(segmentation: Any, height: int, width: int) -> Any:
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        return segmentation
    coded = coco_mask.frPyObjects(segmentation or [[0.0] * FEWEST], height, width)
    return coco_mask.merge(coded) if isinstance(coded, list) else coded


def _box_faults(box: list[float], height: int, width: int) -> list[str]:
    left, top, wide, high = box
    if wide < 0 or high < 0:
        return [f"bbox: has a negative width or height, {box}"]
    inside = min(left, top) >= -TOLERANCE and (
        left + wide <= width + TOLERANCE and top + high <= height + TOLERANCE
    )
    return [] if inside else [f"bbox: {box} reaches outside the picture of {width} x {height}"]


def _polygon_faults(polygon: list[float], height: int, width: int) -> list[str]:
    if len(polygon) % 2:
        return [f"holds {len(polygon)} numbers, which are no pairs of x and y"]
    points = np.array(polygon).reshape(-1, 2)
    outside = (points < -TOLERANCE) | (points > np.array([width, height]) + TOLERANCE)
    if outside.any():
        x, y = points[outside.any(axis=1)][0].tolist()
        return [f"point ({x:g}, {y:g}) lies outside the picture of {width} x {height}"]
    return []


def _run_faults(runs: RunLengths, height: int, width: int) -> list[str]:
    if runs.size != [height, width]:
        return [f"segmentation.size: is {runs.size}, but the picture is {[height, width]}"]
    try:
        lengths = unpack(runs.counts) if isinstance(runs.counts, str) else runs.counts
    except ValueError as error:
        return [f"segmentation.counts: {error}"]
    if min(lengths, default=0) < 0 or sum(lengths) != height * width:
        return [
            f"segmentation.counts: the runs cover {sum(lengths)} pixels or hold a negative one; "
            f"expected {height} x {width} = {height * width}"
        ]
    return []


def unpack(text: str) -> list[int]:
    """Read the packed run lengths of pycocotools, which itself reads any bytes without a check.

    Args:
        text: 5 bits per character from "0" on, the lowest first; the next bit says that the number
            goes on, and numbers from the fourth on are differences to the one two before.

    Raises:
        ValueError: if the text is not of this form.
    """
    if not text.isascii():
        raise ValueError("holds characters that are no packed run lengths")
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if codes.size and (codes.min() < 0 or codes.max() > 63):
        raise ValueError("holds characters that are no packed run lengths")
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    sizes = ends - starts + 1
    if codes.size and (not ends.size or ends[-1] != codes.size - 1 or sizes.max() > 6):
        raise ValueError("ends within a number, or holds one that is too long")
    if not codes.size:
        return []
    shifts = 5 * (np.arange(codes.size) - np.repeat(starts, sizes))
    values = np.add.reduceat((codes & 31) << shifts, starts)
    values -= np.where(codes[ends] & 16, 1 << (5 * sizes), 0)
    lengths = values.tolist()
    for place in range(3, len(lengths)):
        lengths[place] += lengths[place - 2]
    return lengths
