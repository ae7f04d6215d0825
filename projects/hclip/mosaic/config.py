"""Config keys of the training on mosaics."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.methods.ranges import Range, at_least, declare_ranges, list_of

declare_ranges(
    "MODEL.HCLIP_MOSAIC",
    CANVAS=at_least(1),
    GRIDS=list_of(at_least(1), least=1),
    PICTURE_SIZE=at_least(1),
    CROP_SCALE=Range(low=0, high=1, without_low=True),
    PICTURES_PER_GROUP=at_least(1),
)


def add_mosaic_config(cfg: CfgNode) -> None:
    """Add ``MODEL.HCLIP_MOSAIC``, in place.

    The values are those of CLIM's released training of ViT-B/16 on COCO's captions. How CLIP is
    fine-tuned is told by MODEL.CATSEG.FINETUNE, MODEL.CATSEG.PEFT and MODEL.HCLIP, the last image
    block by MODEL.HCLIP_DET.LAST_BLOCK, as in the detector.
    """
    node = cfg.MODEL.HCLIP_MOSAIC = CfgNode()
    node.CANVAS = 1024  # px, side of a mosaic; a multiple of the patch
    node.GRIDS = [2, 3, 4]  # cells per side; of each as many mosaics
    node.PICTURE_SIZE = 224  # px, side of a picture before it goes into its cell, and of one alone
    node.CROP_SCALE = 0.9  # least share of a picture's area that a random crop keeps
    # Neighbouring pictures that are laid out together: of 128, four mosaics of each grid and twelve
    # alone (release: what a process has). The contrast is over all pictures of a step.
    node.PICTURES_PER_GROUP = 128
    node.TRAIN_TEXT = True  # False: captions are encoded as they were (CLIM)
