"""Pictures with a caption for training, and pictures with their true boxes for testing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop

from ovs_core.data.build import DATASET_MAPPER_REGISTRY
from ovs_core.data.detection_mapper import DetectionDatasetMapper
from ovs_core.data.mapper import channels_first, check_stated_size
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture


@DATASET_MAPPER_REGISTRY.register()
class CaptionDatasetMapper:
    """Cuts a square out of a picture, as CLIP's own training does, and takes one of its captions.

    Args:
        is_train: must be True.
        side: of the square in pixels, after its resize.
        crop_scale: least share of the picture's area that the square is cut from.
        exif: turn pictures as their EXIF tag says.

    Raises:
        UserError: if asked for testing.
    """

    @configurable
    def __init__(
        self, is_train: bool = True, *, side: int, crop_scale: float = 0.9, exif: bool = True
    ) -> None:
        if not is_train:
            raise UserError(
                "INPUT.TEST_MAPPER CaptionDatasetMapper: captions are for training; set it to "
                "RegionDatasetMapper"
            )
        self.crop = RandomResizedCrop(
            side, scale=(crop_scale, 1.0), interpolation=InterpolationMode.BICUBIC
        )
        self.exif = exif

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read ``MODEL.HCLIP_MOSAIC`` and ``INPUT``."""
        node = cfg.MODEL.HCLIP_MOSAIC
        return {
            "is_train": is_train,
            "side": node.PICTURE_SIZE,
            "crop_scale": node.CROP_SCALE,
            "exif": cfg.INPUT.EXIF,
        }

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Map one record.

        Args:
            record: Detectron2 dict with ``captions``.

        Returns:
            ``file_name``, ``image`` (3, side, side) uint8 RGB, and ``caption``, one of the
            captions. Torch's generator decides which, and the square.

        Raises:
            UserError: if the picture cannot be read or has another size than stated, or it has no
                caption or an empty one.
        """
        path = record["file_name"]
        captions = _captions(record)
        picture = read_picture(path, exif=self.exif)
        check_stated_size(record, *picture.shape[:2])
        caption = captions[int(torch.randint(len(captions), ()))]
        square = np.asarray(self.crop(Image.fromarray(picture)))
        return {"file_name": path, "image": channels_first(square), "caption": caption}


@DATASET_MAPPER_REGISTRY.register()
class RegionDatasetMapper(DetectionDatasetMapper):
    """Reads test pictures with their true boxes, which training needs otherwise: ``instances``."""

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read ``INPUT`` and ``DATASETS`` as for a test."""
        return {**super().from_config(cfg, is_train=False), "is_train": True}


def _captions(record: Mapping[str, Any]) -> list[str]:
    path, captions = record["file_name"], record.get("captions")
    if not captions:
        raise UserError(
            f"{path}: has no caption ('captions'); train on a dataset with sentences, such as "
            "coco_captions_train or embedded_sem_seg_train"
        )
    empty = [place for place, caption in enumerate(captions) if not caption.strip()]
    if empty:
        raise UserError(f"{path}: captions[{empty[0]}] is empty; take it out of the dataset")
    return list(captions)
