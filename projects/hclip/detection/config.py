"""Config keys of the detector."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.methods.ranges import above, at_least, between, declare_ranges, list_of

declare_ranges(
    "MODEL.HCLIP_DET",
    TAPS=list_of(at_least(0), least=1),
    TEMPERATURE=above(0),
    BACKGROUND_WEIGHT=at_least(0),
)
declare_ranges(
    "MODEL.HCLIP_DET.FUSION",
    TEMPERATURE=above(0),
    BASE_WEIGHT=between(0, 1),
    NOVEL_WEIGHT=between(0, 1),
)


def add_detection_config(cfg: CfgNode) -> None:
    """Add ``MODEL.HCLIP_DET``, in place.

    The values are those of CLIM's ViT-B/16 detector on OV-COCO, which the paper follows. Proposals,
    box head, thresholds and FPN are Detectron2's own keys. How CLIP was adapted is told by
    MODEL.CATSEG.FINETUNE, MODEL.CATSEG.PEFT and MODEL.HCLIP.
    """
    node = cfg.MODEL.HCLIP_DET = CfgNode()
    # Checkpoint of an HCLIPMosaic, H-CLIP or CAT-Seg run with the same FINETUNE; "" with freeze.
    node.ADAPTED = ""
    node.TAPS = [3, 5, 7, 11]  # image blocks whose outputs get strides of 1/4, 1/2, 1, 2 patches
    # The last block: cls (CAT-Seg, H-CLIP), token (MaskCLIP, CLIM) or self; see MODEL.CATSEG.
    node.LAST_BLOCK = "cls"
    node.TEMPERATURE = 50.0  # initial factor on the cosine of region and word; learned
    node.BACKGROUND_WEIGHT = 0.6  # of background regions in the class loss; base 1, novel 0
    # Keep novel words in the softmax of training, which needs their names; False: zero-shot.
    node.NOVEL_NEGATIVES = False
    fusion = node.FUSION = CfgNode()
    fusion.ENABLED = True  # at test time, fuse with the frozen encoder's own score of each box
    fusion.TEMPERATURE = 75.0  # factor on the cosine of pooled dense feature and word
    fusion.BASE_WEIGHT = 0.1  # s = s_det^(1 - w) s_clip^w for classes that were trained
    fusion.NOVEL_WEIGHT = 0.8  # ... and for all others
