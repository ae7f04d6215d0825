"""The mapper that makes segments of panoptic maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from ovs_core.data.build import DATASET_MAPPER_REGISTRY
from ovs_core.data.jitter import large_scale_jitter
from ovs_core.data.mapper import SemanticDatasetMapper, channels_first
from ovs_core.data.panoptic_png import (
    color_from_segment_ids,
    read_panoptic_png,
    segment_ids_from_color,
)
from ovs_core.data.segment_mapper import segments
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture

VOID_ID = 0


@DATASET_MAPPER_REGISTRY.register()
class MaskPanopticMapper(SemanticDatasetMapper):
    """Segments of a panoptic map under large-scale jitter (FC-CLIP; MAFT+, panoptic)."""

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read ``INPUT``; in training its jitter takes the place of resize and crop."""
        arguments = super().from_config(cfg, is_train)
        if is_train:
            arguments |= {"augmentations": large_scale_jitter(cfg), "size_divisibility": -1}
        return arguments

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Map one record.

        Args:
            record: with ``pan_seg_file_name`` and ``segments_info``; not changed.

        Returns:
            As the semantic mapper; in training ``image`` and ``instances``, no ``sem_seg``. Crowd
            and void pixels belong to no segment; a segment that was cropped away keeps its empty
            mask.
        """
        if not self.is_train:
            return super().__call__(record)
        if "pan_seg_file_name" not in record:
            raise UserError(
                f"{record['file_name']}: has no panoptic map; train on a panoptic dataset, or set "
                "INPUT.MAPPER to MaskSemanticMapper"
            )
        image = read_picture(record["file_name"], self.image_format, exif=self.exif)
        # Resized and cropped as colours: only 8-bit maps go through Pillow's nearest resize.
        colours = color_from_segment_ids(read_panoptic_png(record["pan_seg_file_name"]))
        if colours.shape != image.shape:
            raise UserError(
                f"{record['pan_seg_file_name']}: is {colours.shape[:2]}, but its picture "
                f"{record['file_name']} is {image.shape[:2]} pixels high and wide"
            )
        inputs = T.AugInput(image)
        transforms = self.augmentations(inputs)
        ids = segment_ids_from_color(transforms.apply_segmentation(colours))
        kept = [s for s in record["segments_info"] if not s.get("iscrowd", 0)]
        _check_ids(record, kept)
        masks = (
            np.stack([ids == s["id"] for s in kept]) if kept else np.zeros((0, *ids.shape), bool)
        )
        mapped = {k: v for k, v in record.items() if k not in ("annotations", "segments_info")}
        mapped["height"], mapped["width"] = image.shape[:2]
        mapped["image"] = channels_first(inputs.image)
        mapped["instances"] = segments([s["category_id"] for s in kept], torch.from_numpy(masks))
        return mapped


def _check_ids(record: Mapping[str, Any], kept: list[Mapping[str, Any]]) -> None:
    ids = [s["id"] for s in kept]
    if VOID_ID in ids or len(set(ids)) < len(ids):
        raise UserError(
            f"{record['pan_seg_file_name']}: its segments_info uses id 0 (void) or one id twice"
        )
