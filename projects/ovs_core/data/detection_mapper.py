"""From a dataset record with boxes to what a detector trains on or is tested with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper, MetadataCatalog
from detectron2.data import transforms as T

from ..errors import UserError, check_choice
from ..files.pictures import read_picture
from .jitter import large_scale_jitter
from .mapper import channels_first, check_stated_size

BOX_AUGMENTATIONS = ("resize", "jitter")


class DetectionDatasetMapper(DatasetMapper):
    """Detectron2's mapper with large-scale jitter, a base/novel split and clear errors.

    Args:
        arguments: of Detectron2's mapper.
        drop_unseen: in training, leave out the boxes of classes that the dataset's metadata calls
            unseen.
        dataset_name: of records that do not carry a ``dataset_name``.
        exif: turn pictures as their EXIF tag says.
    """

    @configurable
    def __init__(
        self,
        *arguments: Any,
        drop_unseen: bool = False,
        dataset_name: str = "",
        exif: bool = True,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.drop_unseen = drop_unseen
        self.dataset_name = dataset_name
        self.exif = exif

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read ``INPUT`` and ``DATASETS``."""
        kind, unseen = cfg.INPUT.BOX_AUGMENTATION, cfg.DATASETS.UNSEEN_LABELS
        check_choice("INPUT.BOX_AUGMENTATION", kind, BOX_AUGMENTATIONS)
        if unseen not in ("keep", "ignore"):
            raise UserError(
                f"DATASETS.UNSEEN_LABELS: '{unseen}' has no meaning for boxes; choose keep or "
                "ignore (boxes of unseen classes are left out in training)"
            )
        if cfg.MODEL.LOAD_PROPOSALS:
            raise UserError(
                "MODEL.LOAD_PROPOSALS: the model proposes boxes itself; set it to False"
            )
        arguments = super().from_config(cfg, is_train)
        if is_train and kind == "jitter":
            arguments["augmentations"] = large_scale_jitter(cfg)
        names = cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST
        return {
            **arguments,
            "drop_unseen": is_train and unseen == "ignore",
            "dataset_name": names[0] if names else "",
            "exif": cfg.INPUT.EXIF,
        }

    def __call__(self, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Map one record.

        Args:
            dataset_dict: Detectron2 dict; in training with ``annotations``, maybe none.

        Returns:
            The record with ``image`` (3, h, w) uint8; in training also ``instances``.

        Raises:
            UserError: if the picture cannot be read or has another size than stated, or a box has
                no class of the dataset, or boxes are malformed.
        """
        image = read_picture(dataset_dict["file_name"], self.image_format, exif=self.exif)
        height, width = image.shape[:2]
        check_stated_size(dataset_dict, height, width)
        record = {**dataset_dict, "height": height, "width": width}
        record.pop("annotations", None)
        inputs = T.AugInput(image)
        transforms = self.augmentations(inputs)
        record["image"] = channels_first(inputs.image)
        if self.is_train:
            record["annotations"] = copy.deepcopy(self._boxes(dataset_dict))
            try:
                self._transform_annotations(record, transforms, inputs.image.shape[:2])
            except ValueError as error:
                path = record["file_name"]
                raise UserError(f"{path}: its boxes or masks cannot be used ({error})") from error
        return record

    def _boxes(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Annotations that train, each of a class that the dataset has."""
        path = record["file_name"]
        if "annotations" not in record:
            raise UserError(
                f"{path}: has no boxes ('annotations'); train on a dataset of instances, such as "
                "coco_detection_48_17_train or embedded_detection_train"
            )
        metadata = MetadataCatalog.get(record.get("dataset_name") or self.dataset_name)
        names, boxes = metadata.thing_classes, record["annotations"]
        for box in boxes:
            if not 0 <= box["category_id"] < len(names):
                raise UserError(
                    f"{path}: a box has category {box['category_id']}, but "
                    f"{metadata.name} has classes 0..{len(names) - 1} ({names[0]} .. {names[-1]})"
                )
        unseen = set(metadata.get("unseen_classes") or ()) if self.drop_unseen else set()
        return [box for box in boxes if box["category_id"] not in unseen]
