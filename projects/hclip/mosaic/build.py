"""From ``MODEL.HCLIP_MOSAIC`` and the keys of fine-tuning to the parts of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode

from ovs_core.clip import ImageEncoder
from ovs_core.errors import UserError
from ovs_core.modeling.build import build_clip, build_templates

from ..build import finetune_settings
from ..finetune import adapt
from .arrangement import smallest_group

KEY = "MODEL.HCLIP_MOSAIC"


@dataclass(frozen=True)
class MosaicSettings:
    """How mosaics are made.

    Attributes:
        canvas: side of a mosaic in pixels.
        grids: cells per side; of each as many mosaics.
        pictures_per_group: neighbouring pictures that are laid out together.
    """

    canvas: int
    grids: tuple[int, ...]
    pictures_per_group: int

    def check_canvas(self, encoder: ImageEncoder) -> None:
        """Refuse mosaics that a tower cannot be shown cell by cell.

        Args:
            encoder: of the tower.

        Raises:
            UserError: if the patches are not square, do not tile the canvas, or are larger than its
                smallest cell.
        """
        rows, columns = encoder.patch_size
        if rows != columns:
            raise UserError(f"mosaics need square patches, not {rows} x {columns} pixels")
        if self.canvas % rows:
            raise UserError(
                f"{KEY}.CANVAS {self.canvas} is no multiple of the patches of {rows} pixels; the "
                f"next is {self.canvas + -self.canvas % rows}"
            )
        if self.canvas < rows * max(self.grids):
            raise UserError(
                f"{KEY}.GRIDS {max(self.grids)}: a cell of a canvas of {self.canvas} pixels is "
                f"smaller than a patch of {rows}; enlarge {KEY}.CANVAS, or take finer grids out"
            )

    def check_split(self, pictures: int) -> None:
        """Refuse a part of a step that is not made of whole groups, or groups without a mosaic.

        Args:
            pictures: of the part.

        Raises:
            UserError: names the key.
        """
        needed = smallest_group(self.grids)
        if self.pictures_per_group < needed:
            raise UserError(
                f"{KEY}.GRIDS {list(self.grids)}: one mosaic of each takes {needed} pictures, but "
                f"a group has {self.pictures_per_group} ({KEY}.PICTURES_PER_GROUP, at most the "
                "pictures of a step); enlarge the batch and the group, or take grids out"
            )
        if pictures % self.pictures_per_group:
            raise UserError(
                f"{KEY}.PICTURES_PER_GROUP {self.pictures_per_group}: the {pictures} pictures of a "
                "process's batch (SOLVER.IMS_PER_BATCH by processes) cannot be cut into such "
                "groups; use fewer processes, a larger batch, or smaller groups, which is another "
                "training"
            )


def mosaic_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``HCLIPMosaic``."""
    clip, node = build_clip(cfg), cfg.MODEL.CATSEG
    return {
        "clip": clip,
        "adaptation": adapt(clip, finetune_settings(cfg)),
        "templates": build_templates(cfg),
        "settings": mosaic_settings(cfg),
        "last_block": cfg.MODEL.HCLIP_DET.LAST_BLOCK,
        "train_text": cfg.MODEL.HCLIP_MOSAIC.TRAIN_TEXT,
        "rate": node.RATES.get(node.FINETUNE.upper(), 1.0),  # freeze has none
        "checkpointing": node.GRADIENT_CHECKPOINTING,
    }


def mosaic_settings(cfg: CfgNode) -> MosaicSettings:
    """Read how mosaics are made; a step of fewer pictures than a group, however split, is one."""
    node = cfg.MODEL.HCLIP_MOSAIC
    step = int(cfg.SOLVER.IMS_PER_BATCH) * int(cfg.SOLVER.ACCUMULATE)
    return MosaicSettings(node.CANVAS, tuple(node.GRIDS), min(int(node.PICTURES_PER_GROUP), step))
