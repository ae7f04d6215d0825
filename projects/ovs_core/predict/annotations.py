"""What a result says of a picture, in the forms in which annotations are kept.

``coco`` and ``polygons`` are COCO instances, with RLE and with polygons; ``panoptic`` is COCO
panoptic; ``csv`` has a row per segment. RLE, panoptic PNGs and the ``rle`` column give back every
pixel, and so do the polygons where they are filled by COCO's rule, see ``polygons.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..evaluation.mask_ap import encode
from ..files.digests import digest
from ..files.raster import open_raster
from ..files.writing import json_text
from .parts import MAKER, RECORD, SavedResult
from .polygons import polygons_of

Annotation = dict[str, Any]
FORMATS = ("coco", "polygons", "panoptic", "csv")
ROW = (
    "picture", "height", "width", "name", "index", "id", "is_thing", "is_background", "area",
    "share", "left", "top", "right", "bottom", "rle",
)  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """A segmented picture, from memory or from disk.

    Attributes:
        picture: whole path, or what else tells it from others.
        stem: begins the names of its files.
        names: the words.
        numbers: (H, W) what stands for a segment: its ``id``, or its ``index`` where it has none.
        segments: what ``Segment`` holds, as a map each.
        made_with: see ``Result.made_with``.
    """

    picture: str
    stem: str
    names: Sequence[str]
    numbers: NDArray[np.integer] = field(repr=False)
    segments: Sequence[Mapping[str, Any]]
    made_with: Mapping[str, str]

    def masks(self) -> Iterator[tuple[Mapping[str, Any], NDArray[np.bool_]]]:
        """Segments, each with the pixels (H, W) that are its own."""
        for segment in self.segments:
            number = segment["index"] if segment["id"] is None else segment["id"]
            yield segment, self.numbers == number


def read_labelled(saved: SavedResult) -> Labelled:
    """Read a finished result from its files.

    Raises:
        UserError: if it is not whole.
    """
    record = saved.record
    if record is None:
        raise UserError(f"{saved.path(RECORD)}: is no list of segments of the suite")
    part = "segment_ids.png" if "segment_ids.png" in record["files"] else "labels.png"
    with open_raster(saved.path(part)) as image:
        numbers = np.asarray(image).astype(np.int32)
    return Labelled(
        record["picture"], saved.stem, record["names"], numbers, record["segments"],
        record["made_with"],
    )  # fmt: skip


def instances(one: Labelled, *, polygons: bool) -> Iterator[tuple[int, Annotation]]:
    """Give each segment as a COCO instance, with the index of its word.

    Args:
        one: the picture.
        polygons: in place of RLE.
    """
    for segment, mask in one.masks():
        left, top, right, bottom = segment["box"]
        yield (
            segment["index"],
            {
                "segmentation": polygons_of(mask) if polygons else run_lengths(mask),
                "area": segment["area"],
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            },
        )


def panoptic_ids(one: Labelled) -> tuple[NDArray[np.int32], list[tuple[int, Annotation]]]:
    """Give the ids of a COCO panoptic PNG, and each segment with the index of its word.

    Returns:
        (H, W) ids, 0 where there is no segment; pairs of index and ``segments_info`` entry.
    """
    ids, found = np.zeros(one.numbers.shape, np.int32), []
    for segment, mask in one.masks():
        number = segment["index"] + 1 if segment["id"] is None else segment["id"]
        ids[mask] = number
        left, top, right, bottom = segment["box"]
        box = [left, top, right - left, bottom - top]
        entry = {"id": number, "area": segment["area"], "bbox": box, "iscrowd": 0}
        found.append((segment["index"], entry))
    return ids, found


def rows(one: Labelled, file_name: str) -> Iterator[dict[str, str]]:
    """Give each segment as a row of a table; see ``ROW``."""
    height, width = one.numbers.shape
    for segment, mask in one.masks():
        values = [file_name, height, width, segment["name"], segment["index"], segment["id"]]
        values += [segment["is_thing"], segment["is_background"], segment["area"], segment["share"]]
        values += [*segment["box"], run_lengths(mask)["counts"]]
        texts = ["" if value is None else str(value) for value in values]
        yield dict(zip(ROW, texts, strict=True))


def run_lengths(mask: NDArray[np.bool_]) -> Annotation:
    """Give COCO's compressed RLE of a mask (H, W), as JSON takes it."""
    packed = encode(mask)
    return {"size": list(packed["size"]), "counts": packed["counts"].decode("ascii")}


def signed(
    content: Mapping[str, Any], about: Mapping[str, object], made_with: Mapping[str, str]
) -> Annotation:
    """Add to an annotation what made it.

    Args:
        content: the annotation.
        about: for a reader, such as the method's name.
        made_with: see ``Result.made_with``.

    Returns:
        ``content`` and ``provenance``: the maker, ``about``, the hashes of config, weights, words
        and picture, and a ``check`` by which an annotation that was changed since is known.
    """
    check = digest(json_text(content, compact=True))
    return {**content, "provenance": {"made_by": MAKER, **about, **made_with, "check": check}}


def is_untouched(annotation: Mapping[str, Any]) -> bool:
    """Whether the suite made an annotation and nobody changed it since."""
    origin = annotation.get("provenance")
    if not isinstance(origin, Mapping) or origin.get("made_by") != MAKER:
        return False
    content = {key: value for key, value in annotation.items() if key != "provenance"}
    return bool(origin.get("check") == digest(json_text(content, compact=True)))
