"""Config keys of CAT-Seg, H-CLIP and both stages of the detector."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.methods.ranges import above, any_number, at_least, declare_ranges, list_of, one_of

from .detection.config import add_detection_config
from .mosaic.config import add_mosaic_config

RATES = ("HCLIP", "OFT", "ATTENTION", "FULL", "LORA", "VPT", "ADAPTER", "LST", "SSF")

_PAIR = list_of(at_least(1), least=2, most=2)
declare_ranges(
    "MODEL.CATSEG",
    IMAGE_SIZE=at_least(1),
    SIZE_DIVISOR=at_least(1),
    GUIDANCE_LAYERS=list_of(at_least(0), least=2, most=2),
    HIDDEN_DIM=at_least(1),
    NUM_LAYERS=at_least(1),
    NUM_HEADS=at_least(1),
    WINDOW=at_least(1),
    POOLING_TRAIN=_PAIR,
    POOLING_TEST=_PAIR,
    PAD_LEN=at_least(0),
    KEEP_WORDS=at_least(0),
    TEXT_GUIDANCE_DIM=at_least(0),
    APPEARANCE_GUIDANCE_DIM=at_least(0),
    DECODER_DIMS=_PAIR,
    GUIDANCE_DIMS=_PAIR,
    GUIDANCE_PROJ_DIMS=_PAIR,
    CLASS_CHUNK=at_least(0),
)
declare_ranges("MODEL.CATSEG.RATES", **dict.fromkeys(RATES, above(0)))
declare_ranges(
    "MODEL.CATSEG.PEFT",
    LORA_RANK=at_least(1),
    ADAPTER_WIDTH=at_least(1),
    PROMPT_LENGTH=at_least(1),
    PROMPT_DEPTH=at_least(0),
    LST_WIDTHS=_PAIR,
)
declare_ranges(
    "MODEL.HCLIP", BLOCK_SIZE=at_least(1), ALPHA_INIT=any_number(), CAYLEY_SIGN=one_of(-1, 1)
)


def add_hclip_config(cfg: CfgNode) -> None:
    """Add ``MODEL.CATSEG``, ``HCLIP``, ``HCLIP_DET`` and ``HCLIP_MOSAIC``, in place.

    "paper" is H-CLIP's, "code" its release.
    """
    _add_decoder_keys(cfg)
    _add_finetune_keys(cfg)
    add_detection_config(cfg)
    add_mosaic_config(cfg)


def _add_decoder_keys(cfg: CfgNode) -> None:
    node = cfg.MODEL.CATSEG = CfgNode()
    node.IMAGE_SIZE = 384  # px at which the image tower runs (code: 384 for B/16, 336 for L/14)
    node.SIZE_DIVISOR = 32  # px, training pictures are padded to a multiple (code)
    node.GUIDANCE_LAYERS = [3, 7]  # image blocks that guide upsampling (code; L/14: 7, 15)
    # The last image block: values on the CLS token's residual (code), values on each token's own,
    # or attention among tokens that are alike (SCLIP; ours)
    node.LAST_BLOCK = "cls"  # cls, token or self
    node.LOSS = "bce"  # bce (code: ignored pixels are negatives) or ce (paper's wording)
    node.SEEN_ONLY = False  # train with seen classes alone where the dataset names unseen ones
    node.GRADIENT_CHECKPOINTING = False  # recompute blocks of CLIP and decoder; same result
    node.HIDDEN_DIM = 128  # channels of the cost embedding (code)
    node.NUM_LAYERS = 2  # spatial + class aggregation layers (code)
    node.NUM_HEADS = 4  # heads of both attentions (code)
    node.WINDOW = 12  # cells, side of the spatial attention's windows (code)
    node.POOLING_TRAIN = [2, 2]  # cells pooled before class attention in training (code)
    node.POOLING_TEST = [1, 1]  # the same at test time (code: published evaluation)
    node.ATTENTION = "linear"  # class attention: linear or full (code)
    node.PAD_LEN = 256  # classes kept per picture, and padded to; 0 for all and none (code)
    node.KEEP_WORDS = 0  # at test time, only so many words that look best in a picture; 0 for all
    node.TEXT_GUIDANCE_DIM = 128  # (code)
    node.APPEARANCE_GUIDANCE_DIM = 128  # (code)
    node.DECODER_DIMS = [64, 32]  # channels of the upsampling stages, multiples of 16 (code)
    node.GUIDANCE_DIMS = [256, 128]  # channels of the upsampled image blocks (code)
    node.GUIDANCE_PROJ_DIMS = [32, 16]  # what they are projected to (code)
    node.CLASS_CHUNK = 8  # classes at a time (GPU: 8 x); 0 for all


def _add_finetune_keys(cfg: CfgNode) -> None:
    # hclip, oft, attention (CAT-Seg), full, freeze, lora, vpt, adapter, lst, ssf
    cfg.MODEL.CATSEG.FINETUNE = "hclip"
    # Factor on the rates of CLIP's side, beside PARAM_MULTIPLIERS, for each FINETUNE that trains it
    # (paper: one rate for all)
    cfg.MODEL.CATSEG.RATES = CfgNode(dict.fromkeys(RATES, 1.0))
    peft = cfg.MODEL.CATSEG.PEFT = CfgNode()
    peft.LORA_RANK = 64  # gives the paper's count, 7.5 M
    peft.ADAPTER_WIDTH = 128  # gives the paper's count, 7.5 M
    peft.PROMPT_LENGTH = 250  # gives the paper's count, 2.2 M
    peft.PROMPT_DEPTH = 0  # image blocks with prompts; 0 for all
    peft.LST_WIDTHS = [256, 224]  # side widths (image, text); gives the paper's count, 19.8 M
    node = cfg.MODEL.HCLIP = CfgNode()
    node.BLOCK_SIZE = 128  # q, must divide both widths (paper, code)
    node.FORM = "code"  # relations: code or paper (Eqs 18, 19)
    node.ORTHOGONAL = "text"  # whose blocks are rotations: none, text, both (paper: Table 4b)
    node.DCRC = True  # False: POP alone (paper: Table 3)
    node.POP = True  # False: blocks frozen, only the relations train (paper: Table 3)
    node.DCRC_NONLINEAR = False  # paper form: two-layer relations (Eq 19)
    node.CAYLEY_AFTER_DCRC = True  # code; the paper prints the map before the mixing
    node.ALPHA_INIT = 0.0  # paper form: initial weight of the mixed tensor (ours)
    node.CAYLEY_SIGN = -1  # -1: (I - S)(I + S)^-1 (code), +1: its transpose (paper, Eq 5)
    node.QKV_SIDE = "right"  # W D (code) or left, D W (paper)
    node.OUT_PROJ_SIDE = "left"  # D W (code, paper) or right, which keeps the row energy
    # Layer index of a block when the towers differ in depth: index, stride, or same (refuse). Ours.
    node.DEPTH_PAIRING = "index"
