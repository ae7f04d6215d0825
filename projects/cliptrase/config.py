"""Keys of CLIPtrase and of the training-free methods it is compared with."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.methods.ranges import above, any_number, at_least, between, declare_ranges, list_of

from .methods.registry import add_method_keys

declare_ranges("MODEL.CLIPTRASE", IMAGE_SIZE=at_least(1), LOGIT_SCALE=at_least(0))
declare_ranges("MODEL.CLIPTRASE.SCR", LAYER=any_number())
declare_ranges("MODEL.CLIPTRASE.CORR", LAYER=any_number())
declare_ranges("MODEL.CLIPTRASE.CLUSTER", EPS=above(0), MIN_SAMPLES=at_least(1))
declare_ranges("MODEL.CLIPTRASE.MASK", UP=at_least(1), MEDIAN=at_least(1))
declare_ranges("MODEL.CLIPTRASE.D2", SIZE_DIVISIBILITY=at_least(1), CLIP_RESOLUTION=above(0))
declare_ranges("MODEL.CLIPTRASE.SAM", MAX_POINTS=at_least(0))
declare_ranges(
    "MODEL.CLIPTRASE.LAST_STEPS",
    SCALE=above(0),
    PROB_THD=between(0, 1),
    AREA_THD=between(-1, 1),
    PAMR_STEPS=at_least(0),
    PAMR_DILATIONS=list_of(at_least(1), least=1),
)


def add_cliptrase_config(cfg: CfgNode) -> None:
    """Add ``MODEL.CLIPTRASE`` with the defaults of the published tables at 224 pixels.

    [p] marks what the paper states, [S] the released script that made its tables, [D] its
    Detectron2 port, [*] a definition of ours where neither says anything.

    Args:
        cfg: Detectron2's config with the suite's keys, changed in place.
    """
    node = cfg.MODEL.CLIPTRASE = CfgNode()
    node.METHOD = "cliptrase"  # the name of a file in methods/: clip, sclip, maskclip, ...
    node.PROTOCOL = "standalone"  # standalone [S], d2 [D], fullres [*], ovs: MODEL.OVS.PROTOCOL
    node.IMAGE_SIZE = 224  # S: side of the crop, short side for fullres; 336 in the main table [S]
    node.NORMALIZE_FEATURES = True  # unit tokens [S]; False in d2 [D]
    node.CLS_PRODUCT = "auto"  # times CLS logits: on, off, auto (VOC20 [S], voc* in d2 [D])
    node.VOTE = "majority"  # majority of labels [S], mean_logits [D], none
    node.SCENE_TEMPLATES = False  # 5 more "in the scene": CLIP-Surgery's and MaskCLIP's 85
    node.LOGIT_SCALE = 0.0  # factor on cosines; 0: CLIP's stored one [S]
    node.POSITION_SAME_COUNT = False  # keep the table for any grid of as many cells [S, D]
    _add_recovery_keys(node)
    _add_region_keys(node)
    _add_mask_source_keys(node)
    _add_last_step_keys(node)
    add_method_keys(node)


def _add_recovery_keys(node: CfgNode) -> None:
    scr = node.SCR = CfgNode()
    scr.ENABLED = True  # False: the block stays as CLIP has it (Table 4, w/o SCR)
    scr.LAYER = -1  # which block is rewired (Table 2, L9-L12) [S]
    # softmax_sum [S], softmax_mean, csa, vv, identity, vanilla, cos_shared [*], inner_shared [*]
    scr.ATTENTION = "softmax_sum"
    scr.GT_RESTRICTED = False  # patches see only patches of their own true label (Table 4) [*]
    corr = node.CORR = CfgNode()
    corr.LAYER = -2  # block whose correlation is clustered [S]
    corr.KIND = "cosine"  # cosine [p, S] or inner (Table 2, Multi) [*]
    corr.HEADS = "per_head"  # per_head [S] or concat (supplement A.2)


def _add_region_keys(node: CfgNode) -> None:
    node.DENOISE = "cls_subtract"  # cls_subtract [S], eq7 [p], none
    cluster = node.CLUSTER = CfgNode()
    cluster.ENABLED = True  # False: labels straight from the patches (Table 2, +SCR)
    cluster.EPS = 0.7  # 0.7 at 224, 1.1 at 336 [S]; 0.7 for all [p]
    cluster.MIN_SAMPLES = 3  # 3 at 224, 7 at 336 [S]; 3 for all [p]
    cluster.NORMALIZE = False  # unit rows before DBSCAN; True in equation 4 [p]
    cluster.TARGET = "correlation"  # correlation, or features (Table 2, f)
    mask = node.MASK = CfgNode()
    mask.UP = 4  # bilinear upsampling of the prototypes before the median filter [S]
    mask.MEDIAN = 7  # side of the median window, 2 UP - 1 [S]
    d2 = node.D2 = CfgNode()
    d2.SIZE_DIVISIBILITY = 32  # pad to a multiple of this [D]
    d2.CLIP_RESOLUTION = 0.5  # factor on the padded picture [D]
    d2.PADDING_BUG = False  # True: padding is not cut off, as released


def _add_mask_source_keys(node: CfgNode) -> None:
    # scr, dino (Table 5), external: "correlation" of the input dict, file:FOLDER: masks or matrices
    node.MASK_SOURCE = "scr"
    dino = node.DINO = CfgNode()
    dino.MODEL = "vit_base_patch16_224.dino"  # timm name; also ..._dinov2
    dino.WEIGHTS = ""  # file with timm's or torch.hub's weights; timm fetches them; random
    sam = node.SAM = CfgNode()
    sam.ENABLED = False  # masks from SAM in place of the prototypes (Table 3) [*]
    sam.BACKEND = "segment_anything"  # or transformers
    sam.MODEL = "vit_h"  # vit_b, vit_l, vit_h (segment_anything)
    sam.WEIGHTS = ""  # its published .pth; a folder or hub id of SAM or SAM 2 for transformers
    sam.MAX_POINTS = 0  # most points per cluster; 0 for all [*]


def _add_last_step_keys(node: CfgNode) -> None:
    """After windows were averaged; with ``PROTOCOL ovs``."""
    last = node.LAST_STEPS = CfgNode()
    last.ENABLED = False  # True: every synonym is a query, softmax over queries, thresholds
    last.SCALE = 40.0  # factor on the averaged cosines
    last.PROB_THD = 0.0  # below this a pixel becomes class 0, the background
    last.AREA_THD = -1.0  # share of foreground that a class must exceed; -1 for off
    last.RENORMALIZE = False  # scores that are handed on sum to 1 over the classes
    last.PAMR_STEPS = 0  # refinement along colours before the softmax; 0 for off
    last.PAMR_DILATIONS = [8, 16]
