"""A result in the forms that other tools take: supervision, COCO, pandas, Label Studio.

Packages that are not the suite's own are imported where they are used. Letters: S segments, H x W
picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files.extras import needed
from .annotations import Labelled, instances
from .parts import MAKER

if TYPE_CHECKING:
    from pandas import DataFrame
    from supervision import Detections

_COLUMNS = ("left", "top", "right", "bottom")  # that stand for ``box`` in a table


def coco_content(
    one: Labelled, *, polygons: bool = False, scores: Sequence[float] | None = None
) -> dict[str, Any]:
    """Write a result as the content of a COCO instance file.

    Args:
        one: the result.
        polygons: in place of RLE.
        scores: of the segments, in their order; left out without.

    Returns:
        ``images`` (one, of id 1), ``annotations`` and ``categories``, whose ids begin with 1.
    """
    height, width = one.numbers.shape
    annotations = [
        {"id": number, "image_id": 1, "category_id": index + 1, **content}
        for number, (index, content) in enumerate(instances(one, polygons=polygons), start=1)
    ]
    for annotation, score in zip(annotations, scores or (), strict=False):
        annotation["score"] = score
    return {
        "images": [{"id": 1, "file_name": one.picture, "height": height, "width": width}],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name} for number, name in enumerate(one.names, start=1)
        ],
    }


def data_frame(one: Labelled, scores: Sequence[float] | None = None) -> DataFrame:
    """Write the segments as a table of pandas.

    Args:
        one: the result.
        scores: of the segments, in their order; left out without.

    Returns:
        A row per segment: ``name``, ``index``, ``area``, ``share``, the box as four columns, ``id``
        and ``is_thing`` (empty for methods that don't tell things apart), ``is_background``,
        ``score``.

    Raises:
        UserError: if pandas is not installed.
    """
    rows = []
    for segment in one.segments:
        box = dict(zip(_COLUMNS, segment["box"], strict=True))
        rows.append({**{k: v for k, v in segment.items() if k != "box"}, **box})
    frame: DataFrame = needed("pandas", "tables").DataFrame(rows)
    if scores is not None:
        frame["score"] = list(scores)
    return frame


def detections(one: Labelled, scores: Sequence[float] | None = None) -> Detections:
    """Write the segments as ``supervision.Detections``.

    Args:
        one: the result.
        scores: of the segments, in their order, as ``confidence``; None without.

    Returns:
        S detections: boxes, masks (S, H, W), ``class_id`` (index of the word), and in ``data``
        ``class_name`` and ``is_background``.

    Raises:
        UserError: if supervision is not installed.
    """
    kind = needed("supervision", "supervision").Detections
    segments = list(one.segments)
    if not segments:
        empty: Detections = kind.empty()
        return empty
    found: Detections = kind(
        xyxy=np.array([segment["box"] for segment in segments], np.float32),
        mask=np.stack([mask for _, mask in one.masks()]),
        class_id=np.array([segment["index"] for segment in segments]),
        confidence=None if scores is None else np.array(scores, np.float32),
        data={
            "class_name": np.array([segment["name"] for segment in segments]),
            "is_background": np.array([segment["is_background"] for segment in segments]),
        },
    )
    return found


def label_studio_task(
    one: Labelled, address: str, *, from_name: str = "label", to_name: str = "image"
) -> dict[str, Any]:
    """Write a result as a task of Label Studio, whose prediction a person corrects.

    Args:
        one: the result.
        address: of the picture, as Label Studio finds it.
        from_name: of the ``PolygonLabels`` in the project's labelling interface.
        to_name: of its ``Image``, whose value is ``$image``.

    Returns:
        What stands in the list of an import file. Polygons follow the edges of pixels; they are in
        percent of the picture's sides.
    """
    height, width = one.numbers.shape
    found: list[dict[str, Any]] = []
    for index, content in instances(one, polygons=True):
        for polygon in content["segmentation"]:
            points = 100 * np.array(polygon, float).reshape(-1, 2) / (width, height)
            value = {"points": points.tolist(), "polygonlabels": [one.names[index]], "closed": True}
            found.append(
                {"id": str(len(found)), "type": "polygonlabels", "value": value,
                 "from_name": from_name, "to_name": to_name, "image_rotation": 0,
                 "original_width": width, "original_height": height}
            )  # fmt: skip
    return {
        "data": {to_name: address},
        "predictions": [{"model_version": MAKER, "result": found}],
    }
