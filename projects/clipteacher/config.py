"""Config keys of CLIPTeacher; figures in brackets name the paper's table or equation."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.methods.ranges import (
    above,
    any_number,
    at_least,
    between,
    declare_ranges,
    from_up_to,
    list_of,
    texts,
)

declare_ranges("MODEL.CLIPTEACHER", PICTURES_PER_GROUP=at_least(1))
declare_ranges("MODEL.CLIPTEACHER.CLIP", CACHE_MIB=at_least(0))
declare_ranges(
    "MODEL.CLIPTEACHER.STUDENT",
    DROP_PATH=from_up_to(0, 1),
    DROPOUT=from_up_to(0, 1),
    HEAD_WIDTH=at_least(0),
    HAM_WIDTH=at_least(0),
    IMPORT=texts(),
)
declare_ranges("MODEL.CLIPTEACHER.GLM", TAU=above(0), BANK_SIZE=at_least(1))
declare_ranges(
    "MODEL.CLIPTEACHER.PLM",
    WINDOWS=list_of(at_least(1), least=1),
    ITERS=at_least(1),
    FUSE_THRESH=between(-1, 1),
)
declare_ranges(
    "MODEL.CLIPTEACHER.VLA",
    LAYERS=at_least(1),
    HEADS=at_least(1),
    FFN=at_least(1),
    DROPOUT=from_up_to(0, 1),
)
declare_ranges(
    "MODEL.CLIPTEACHER.LOSS",
    GLOBAL=at_least(0),
    CE=at_least(0),
    FOCAL=at_least(0),
    DICE=at_least(0),
    GENERATE=at_least(0),
    ALPHA=above(0),
    BETA=above(0),
)
declare_ranges("MODEL.CLIPTEACHER.TEST", GAMMA=any_number())


def add_clipteacher_config(cfg: CfgNode) -> None:
    """Add ``MODEL.CLIPTEACHER``. The teacher itself is ``MODEL.CLIP``.

    Args:
        cfg: Detectron2's and the core's defaults, changed in place.
    """
    node = cfg.MODEL.CLIPTEACHER = CfgNode()
    # Pictures that are learned from together: their classes are told apart, their losses have one
    # mean. What a GPU holds in mmsegmentation's schedule, which the paper follows. A step of
    # fewer pictures is one group.
    node.PICTURES_PER_GROUP = 2
    node.CLIP = CfgNode()
    node.CLIP.POS_INTERP = "bicubic"  # resizing of the position table: bicubic or bilinear
    node.CLIP.CACHE_MIB = 0  # memory for tokens of pictures that come again bit for bit; 0: none
    student = node.STUDENT = CfgNode()
    # segformer_b0..b5, segnext_t/s/b/l, swin_t/s/b, convnext_t/s/b, clip_trunk, small_convnet, or
    # an own entry
    student.NAME = "segformer_b4"
    student.WEIGHTS = "imagenet"  # imagenet (published, downloaded), local file or folder, or ""
    student.DROP_PATH = 0.1  # stochastic depth of the encoder
    student.DROPOUT = 0.1  # in front of the last convolution
    # batch norms over all pictures of a step, as mmsegmentation has them; False: over a group
    student.SYNC_BN = True
    student.HEAD_WIDTH = 0  # channels of the head; 0 for mmsegmentation's
    student.HAM_WIDTH = 0  # SegNeXt: channels of its Hamburger; 0 for the head's, as published
    student.IMPORT = []  # Python modules that register own students
    _add_module_keys(node)
    _add_loss_keys(node)
    node.TEST = CfgNode()
    node.TEST.GAMMA = 1.5  # added to logits of unseen classes; the paper has 5.0 without the GLM


def _add_module_keys(node: CfgNode) -> None:
    glm = node.GLM = CfgNode()
    glm.ENABLED = True  # Global Learning Module (Table 3)
    glm.POOL = "attention"  # attention, max or mean (Table 4)
    glm.TAU = 0.07  # temperature (eq. 3)
    glm.BANK_SIZE = 24  # iterations that the bank of CLS tokens remembers
    glm.NORMALIZE = True  # compare unit vectors
    glm.ATTN_UNIT_QUERY = False  # unit CLS token as query; the attention is then nearly flat
    # pool: this batch and 23 older; bank_and_batch: and 24 older; bank_only: 24 older; batch_only
    glm.NEGATIVES = "pool"
    glm.REDUCTION = "mean"  # over anchors; the paper prints sum
    glm.GATHER = True  # contrast with all pictures of a step; False: with those of the group
    plm = node.PLM = CfgNode()
    plm.ENABLED = True  # potential objects on unannotated area
    plm.TOKENS = "proj"  # clustered teacher tokens: proj, ln_post or raw
    plm.TOKEN_RULE = "majority"  # a token is unannotated if most of its pixels are; any; nearest
    plm.WINDOWS = [3, 7]  # scales of the start centres (eq. 4-5)
    plm.WINDOW_MODE = "grid"  # grid: s x s windows; size: windows of s x s tokens
    plm.CENTER_SCOPE = "all"  # start centres over all tokens of a window, or ignored ones
    plm.DISTANCE = "cosine"  # or euclidean
    plm.ITERS = 10  # most K-means updates
    plm.FUSE_THRESH = 0.8  # cosine similarity from which masks are fused (Algorithm 1)
    plm.KEEP_LEFTOVER = True  # masks similar to none are groups of their own
    vla = node.VLA = CfgNode()
    vla.TYPE = "decoder"  # decoder, mlp or identity (Table 5)
    vla.LAYERS = 3  # not in the paper; depth and heads of ZegCLIP's decoder
    vla.HEADS = 8
    vla.FFN = 2048
    vla.DROPOUT = 0.1
    vla.UNIT_OUTPUT = True  # classifier rows as long as the text features


def _add_loss_keys(node: CfgNode) -> None:
    loss = node.LOSS = CfgNode()  # weights; 0 skips the term's work (Table 3)
    loss.GLOBAL = 1.0
    loss.CE = 1.0
    loss.FOCAL = 100.0  # as ZegCLIP's code has it; both papers print 1
    loss.DICE = 1.0
    loss.GENERATE = 1.0
    loss.GENERATE_REDUCTION = "mean"  # over classes; sum (eq. 8); elements
    # CLIP-ZSS, the paper's later revision, reportedly has bce and cosine; see the read-me
    loss.GENERATE_KIND = "mse"  # mse (eq. 8) or bce
    loss.PSEUDO_LOGITS = "inner"  # of potential classes: inner (eq. 9) or cosine
    loss.ALPHA = 1.0  # with cosine: factor on the logits of seen classes in training
    loss.BETA = 1.0  # with cosine: factor on the cosines
    loss.CE_ALL_PIXELS = False  # divide by all pixels, as mmsegmentation does by default
    loss.NEL_SKIP_IGNORED = False  # ignored pixels are negatives of every class, as in ZegCLIP
