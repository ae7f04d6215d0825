"""The ground truth of a panoptic set: its annotation file and its PNGs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data.catalog import Metadata

from ..data.annotations import PanopticSchema, canonical_id, read_annotations
from ..data.segments import read_segment_ids
from ..errors import UserError


class PanopticTruth:
    """Categories and segments of a panoptic set.

    Args:
        metadata: of the dataset, with ``panoptic_json`` and ``panoptic_root``.

    Attributes:
        categories: ``id``, ``name`` (or the id) and ``isthing`` of each class. The metadata say
            which are classes and which are things, where they do; classes that the file does not
            list are the last.

    Raises:
        UserError: if the annotation file is missing, or a field of it is wrong.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.path, self.root = Path(metadata.panoptic_json), Path(metadata.panoptic_root)
        self._content = read_annotations(self.path, PanopticSchema)
        self.categories = list(self._categories(metadata))
        self._annotations = {
            annotation.image_id: {
                "image_id": annotation.image_id,
                "file_name": annotation.file_name,
                "segments_info": [segment.as_dict() for segment in annotation.segments_info],
            }
            for annotation in self._content.annotations
        }

    def _categories(self, metadata: Metadata) -> Iterator[dict[str, Any]]:
        classes = metadata.get("stuff_dataset_id_to_contiguous_id") or {}
        things = metadata.get("thing_dataset_id_to_contiguous_id")
        listed = self._content.categories
        for place, category in enumerate(listed):
            if classes and category.id not in classes:
                continue  # left out by the dataset
            isthing = category.isthing if things is None else category.id in things
            if isthing is None:
                raise UserError(f"{self.path}: categories[{place}].isthing: is missing")
            yield {"id": category.id, "name": category.name or str(category.id), "isthing": isthing}
        for id_ in classes.keys() - {category.id for category in listed}:
            name = metadata.stuff_classes[classes[id_]]
            yield {"id": id_, "name": name, "isthing": id_ in (things or {})}

    def background(self, metadata: Metadata) -> list[int]:
        """Category ids of the classes that the dataset marks as background, in their order."""
        classes = metadata.get("stuff_dataset_id_to_contiguous_id") or {}
        ids = {place: id_ for id_, place in classes.items()}
        return [ids[place] for place in metadata.get("background_classes", ())]

    def annotation(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the annotation of a model's input.

        Raises:
            UserError: if there is none for its ``image_id``.
        """
        try:
            return self._annotations[canonical_id(given["image_id"])]
        except (KeyError, ValueError):
            raise UserError(
                f"{self.path}: no annotation for image_id {given.get('image_id')!r} "
                f"({given.get('file_name')})"
            ) from None

    def ids(self, annotation: Mapping[str, Any], given: Mapping[str, Any]) -> np.ndarray:
        """Read the segment ids of an annotation.

        Args:
            annotation: of the picture.
            given: the model's input; its ``pan_seg_file_name`` is read where it has one.

        Returns:
            (H, W) int32, 0 is void.

        Raises:
            UserError: if PNG and annotation do not fit together.
        """
        path = given.get("pan_seg_file_name") or self.root / annotation["file_name"]
        return read_segment_ids(path, annotation["segments_info"])[0]
