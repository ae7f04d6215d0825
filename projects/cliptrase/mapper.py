"""The mapper of the stand-alone protocol: what is labelled and scored is the central square."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from PIL import Image

from ovs_core.data.build import DATASET_MAPPER_REGISTRY
from ovs_core.data.labels import load_labels
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture
from ovs_core.words.label_space import label_space

from .square_crop import crop_labels, square_crop


@DATASET_MAPPER_REGISTRY.register()
class SquareCropMapper:
    """Reads a picture and cuts it to S x S as the published tables were made.

    Args:
        is_train: must be False; the method does not train.
        side: S.
        with_labels: whether the cropped labels are given too, for the ground-truth ablation. The
            evaluator reads them itself.
        dataset_name: label space of records that do not carry a ``dataset_name``.
        exif: turn pictures as their EXIF tag says.

    Raises:
        UserError: if asked for training.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = False,
        *,
        side: int,
        with_labels: bool = False,
        dataset_name: str = "",
        exif: bool = True,
    ) -> None:
        if is_train:
            raise UserError("INPUT.MAPPER SquareCropMapper: the square protocol is for --eval-only")
        self.side = side
        self.with_labels = with_labels
        self.dataset_name = dataset_name
        self.exif = exif

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = False) -> dict[str, Any]:
        """Read ``MODEL.CLIPTRASE`` and ``INPUT``."""
        node = cfg.MODEL.CLIPTRASE
        return {
            "is_train": is_train,
            "side": node.IMAGE_SIZE,
            "with_labels": node.SCR.GT_RESTRICTED,
            "dataset_name": cfg.DATASETS.TEST[0] if cfg.DATASETS.TEST else "",
            "exif": cfg.INPUT.EXIF,
        }

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Map one record.

        Args:
            record: Detectron2 dataset dict; not changed.

        Returns:
            The record's entries with ``image`` (3, S, S) uint8 and S as ``height`` and ``width``;
            ``sem_seg`` (S, S) int64, ``IGNORE`` where nothing counts, if labels were asked for.
        """
        mapped = {k: v for k, v in record.items() if k not in ("annotations", "segments_info")}
        picture = Image.fromarray(read_picture(record["file_name"], exif=self.exif))
        crop = np.array(square_crop(picture, self.side))
        mapped["image"] = torch.from_numpy(crop.transpose(2, 0, 1).copy())
        mapped["height"] = mapped["width"] = self.side
        if self.with_labels:
            space = label_space(record.get("dataset_name") or self.dataset_name)
            labels = crop_labels(load_labels(record, space), self.side)
            mapped["sem_seg"] = torch.from_numpy(labels.astype(np.int64))
        return mapped
