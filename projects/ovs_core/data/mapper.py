"""From a dataset record to what a model trains on or is tested with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from torch import Tensor

from ..errors import UserError, check_choice
from ..files.pictures import read_header, read_picture
from ..words.label_space import IGNORE, UNSEEN, ClassSplit, LabelSpace, label_space
from .labels import label_path, load_labels

PADDING_GREY = 128
HIDDEN_VALUES = {"ignore": IGNORE, "mark": UNSEEN}  # of DATASETS.UNSEEN_LABELS
UNSEEN_CHOICES = ("keep", *HIDDEN_VALUES)


def training_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Build the augmentations of training: resize, crop, colour, flip, in this order.

    Args:
        cfg: reads ``INPUT.{MIN,MAX}_SIZE_TRAIN*``, ``CROP``, ``COLOR_AUG_SSD``, ``RANDOM_FLIP``.
    """
    size = T.ResizeShortestEdge(
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    )
    augmentations: list[Any] = [size]
    crop = cfg.INPUT.CROP
    if crop.ENABLED:
        augmentations.append(
            T.RandomCrop_CategoryAreaConstraint(
                crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, IGNORE
            )
        )
    if cfg.INPUT.COLOR_AUG_SSD:
        from detectron2.projects.point_rend import ColorAugSSDTransform

        augmentations.append(ColorAugSSDTransform(img_format=cfg.INPUT.FORMAT))
    if cfg.INPUT.RANDOM_FLIP != "none":
        upright = cfg.INPUT.RANDOM_FLIP == "horizontal"
        augmentations.append(T.RandomFlip(horizontal=upright, vertical=not upright))
    return augmentations


class SemanticDatasetMapper:
    """Reads a picture and its semantic labels, and augments both.

    A broken picture, a label map of another size and a label out of range are reported with the
    file's name. In testing the labels are left to the evaluator; only the size of the label file is
    looked at.

    Args:
        is_train: whether to read and augment labels.
        augmentations: Detectron2 augmentations, in order.
        image_format: ``RGB`` or ``BGR``.
        dataset_name: label space of records that do not carry a ``dataset_name``.
        size_divisibility: pad to a multiple of this side; -1 does not pad.
        unseen: ``keep``, ``ignore`` or ``mark`` (``UNSEEN``) pixels of unseen classes.
        renumber_seen: number the seen classes 0..S-1.
        exif: turn pictures as their EXIF tag says.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str = "RGB",
        dataset_name: str = "",
        size_divisibility: int = -1,
        unseen: str = "keep",
        renumber_seen: bool = False,
        exif: bool = True,
    ) -> None:
        check_choice("DATASETS.UNSEEN_LABELS", unseen, UNSEEN_CHOICES)
        if renumber_seen and unseen == "keep":
            raise UserError(
                "DATASETS.RENUMBER_SEEN needs UNSEEN_LABELS ignore or mark: with keep, the indices "
                "of unseen classes would be those of other, renumbered classes"
            )
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.dataset_name = dataset_name
        self.size_divisibility = size_divisibility
        self.unseen = unseen
        self.renumber_seen = renumber_seen
        self.exif = exif
        if is_train and dataset_name and unseen != "keep":
            _require_split(dataset_name, label_space(dataset_name))

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read ``INPUT`` and ``DATASETS``."""
        names = cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST
        first = names[0] if names else ""
        if is_train:
            augmentations = training_augmentations(cfg)
        else:
            augmentations = utils.build_augmentation(cfg, False)
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "dataset_name": first,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY if is_train else -1,
            "unseen": cfg.DATASETS.UNSEEN_LABELS,
            "renumber_seen": cfg.DATASETS.RENUMBER_SEEN,
            "exif": cfg.INPUT.EXIF,
        }

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Map one record.

        Args:
            record: Detectron2 dataset dict; not changed.

        Returns:
            The record's entries with ``height`` and ``width`` of the stored picture, ``image``
            (3, h, w) uint8; in training also ``sem_seg`` (h, w) int64, ``IGNORE`` where nothing
            counts, and, where pictures are padded, ``padding_mask`` (h, w) bool, True on padding.

        Raises:
            UserError: if picture and labels cannot be used together.
        """
        mapped = {k: v for k, v in record.items() if k not in ("annotations", "segments_info")}
        image = read_picture(record["file_name"], self.image_format, exif=self.exif)
        height, width = image.shape[:2]
        check_stated_size(record, height, width)
        mapped["height"], mapped["width"] = height, width
        inputs = T.AugInput(image, sem_seg=self._labels(record, (height, width)))
        self.augmentations(inputs)
        mapped["image"] = channels_first(inputs.image)
        if inputs.sem_seg is not None:
            mapped["sem_seg"] = torch.from_numpy(inputs.sem_seg.astype(np.int64))
        if self.size_divisibility > 0:
            self._pad(mapped)
        return mapped

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Bring an (H, W, 3) uint8 RGB picture from elsewhere to the form of this mapper's."""
        inputs = T.AugInput(image if self.image_format == "RGB" else image[..., ::-1])
        self.augmentations(inputs)
        return inputs.image

    def _labels(self, record: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray | None:
        """Labels for augmentations, (H, W) float64: Detectron2 resizes wide ones as floats only."""
        if label_path(record) is None:
            return None
        if not self.is_train:
            for path in label_files(record):
                check_label_size(path, record, read_header(path).stored, size)
            return None
        dataset = record.get("dataset_name") or self.dataset_name
        space = label_space(dataset)
        labels = load_labels(record, space.apart())
        check_label_size(str(label_path(record)), record, labels.shape, size)
        if self.unseen == "keep":
            return labels.astype(np.float64)
        changed = _require_split(dataset, space).relabel(
            torch.from_numpy(labels),
            hidden=HIDDEN_VALUES[self.unseen],
            renumber=self.renumber_seen,
        )
        return changed.numpy().astype(np.float64)

    def _pad(self, mapped: dict[str, Any]) -> None:
        height, width = mapped["image"].shape[-2:]
        side = self.size_divisibility
        margins = (0, -width % side, 0, -height % side)
        mapped["image"] = F.pad(mapped["image"], margins, value=PADDING_GREY)
        mapped["padding_mask"] = F.pad(
            torch.zeros(height, width, dtype=torch.bool), margins, value=True
        )
        if "sem_seg" in mapped:
            mapped["sem_seg"] = F.pad(mapped["sem_seg"], margins, value=IGNORE)


def _require_split(dataset_name: str, space: LabelSpace) -> ClassSplit:
    if (split := space.split) is None:
        raise UserError(
            "DATASETS.UNSEEN_LABELS and RENUMBER_SEEN need seen and unseen classes, but dataset "
            f"'{dataset_name}' has no such split; set them back to 'keep' and False"
        )
    return split


def channels_first(image: np.ndarray) -> Tensor:
    """Bring a picture (H, W, 3) to the layout (3, H, W) of models."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def check_stated_size(record: Mapping[str, Any], height: int, width: int) -> None:
    """Refuse a picture of another size than its record states.

    Raises:
        UserError: names both sizes.
    """
    stated = (record.get("height", height), record.get("width", width))
    if stated != (height, width):
        raise UserError(
            f"{record['file_name']}: is {height} x {width} pixels high and wide, but the "
            f"annotation file says {stated[0]} x {stated[1]}"
        )


def label_files(record: Mapping[str, Any]) -> list[str]:
    """Give all label files of a record: the semantic one, the panoptic one."""
    return [record[k] for k in ("sem_seg_file_name", "pan_seg_file_name") if k in record]


def check_label_size(
    path: str, record: Mapping[str, Any], labels: Sequence[int], image: tuple[int, int]
) -> None:
    """Refuse a label file of another size than its picture.

    Args:
        path: of the label file.
        record: names the picture.
        labels: height and width of the labels.
        image: likewise of the picture.

    Raises:
        UserError: names both files and sizes.
    """
    if tuple(labels) == image:
        return
    hint = ""
    if tuple(labels) == image[::-1]:
        hint = (
            "; if an EXIF tag turns the picture and the labels are unturned, set INPUT.EXIF False"
        )
    raise UserError(
        f"{path}: is {labels[0]} x {labels[1]} pixels high and wide, but "
        f"its picture {record['file_name']} is {image[0]} x {image[1]}{hint}"
    )
