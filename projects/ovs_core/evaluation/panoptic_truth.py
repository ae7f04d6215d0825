"""The ground truth of a panoptic set: its annotation file and its PNGs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data.catalog import Metadata

from ..data.panoptic_png import read_panoptic_png
from ..errors import UserError


class PanopticTruth:
    """Categories and segments of a panoptic set.

    Args:
        metadata: of the dataset, with ``panoptic_json`` and ``panoptic_root``.

    Attributes:
        categories: of the annotation file, with ``id``, ``isthing`` and mostly ``name``.

    Raises:
        UserError: if the annotation file is missing or no panoptic one.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.path, self.root = Path(metadata.panoptic_json), Path(metadata.panoptic_root)
        try:
            content = json.loads(self.path.read_text())
            self.categories: list[dict[str, Any]] = content["categories"]
            self._annotations = {a["image_id"]: a for a in content["annotations"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path}: no panoptic annotation file ({error})") from error
        if len(self._annotations) < len(content["annotations"]):
            raise UserError(f"{self.path}: two annotations have the same image_id")

    def annotation(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the annotation of a model's input.

        Raises:
            UserError: if there is none for its ``image_id``.
        """
        try:
            return self._annotations[given["image_id"]]
        except KeyError:
            raise UserError(
                f"{self.path}: no annotation for image_id {given.get('image_id')!r} "
                f"({given.get('file_name')})"
            ) from None

    def ids(self, annotation: Mapping[str, Any]) -> np.ndarray:
        """Read the (H, W) int32 segment ids of an annotation, 0 is void."""
        return read_panoptic_png(self.root / annotation["file_name"])
