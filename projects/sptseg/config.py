"""Config keys of SPT-SEG and of its baseline ZegCLIP."""

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

declare_ranges(
    "MODEL.SPTSEG", SEEN=texts(), UNSEEN=texts(), SEEN_BIAS=any_number(), CROP=at_least(1)
)
declare_ranges(
    "MODEL.SPTSEG.PROMPTS", TOKENS=at_least(0), DEPTH=at_least(0), DROPOUT=from_up_to(0, 1)
)
declare_ranges("MODEL.SPTSEG.SPECTRAL", LAYERS=list_of(at_least(0)), INIT_STD=at_least(0))
declare_ranges(
    "MODEL.SPTSEG.DECODER",
    LAYERS=at_least(1),
    HEADS=at_least(1),
    FEEDFORWARD=above(0),
    DROPOUT=from_up_to(0, 1),
    ATTENTION_DROPOUT=from_up_to(0, 1),
    LOGITS=list_of(any_number(), most=2),
)
declare_ranges("MODEL.SPTSEG.HILO", WINDOW=at_least(1), HEADS=at_least(1), ALPHA=between(0, 1))
declare_ranges(
    "MODEL.SPTSEG.LOSS",
    FOCAL=at_least(0),
    DICE=at_least(0),
    SSIM=at_least(0),
    FOCAL_ALPHA=between(0, 1),
    FOCAL_GAMMA=at_least(0),
    ACCURACY_PERIOD=at_least(0),
)


def add_sptseg_config(cfg: CfgNode) -> None:
    """Add ``MODEL.SPTSEG`` with SPT-SEG's defaults; ZegCLIP's differ in four keys (Base-ZegCLIP).

    Args:
        cfg: Detectron2's and the core's defaults, changed in place.
    """
    node = cfg.MODEL.SPTSEG = CfgNode()
    node.MODE = "inductive"  # inductive, transductive (self-training) or fully
    node.SEEN = []  # names of the seen classes; [] for the dataset's split
    node.UNSEEN = []  # names of the unseen classes; [] for the dataset's split
    node.SEEN_BIAS = 0.1  # taken off seen classes' probabilities at test; 0 if MODE is transductive
    node.TEST_CLASSES = "all"  # all (generalised) or unseen; see unseen_only.py
    node.CROP = 512  # side of training crops and test windows; fixes the spectral filter's grid
    node.PIXEL_STATISTICS = "imagenet"  # imagenet (published) or clip
    node.CLASS_EMBEDDING_TWICE = True  # published towers add the class embedding twice
    _add_prompt_keys(node)
    _add_decoder_keys(node)
    _add_loss_keys(node)


def _add_prompt_keys(node: CfgNode) -> None:
    prompts = node.PROMPTS = CfgNode()
    prompts.TOKENS = 10  # visual prompt tokens per block: VOC 10, COCO-Stuff 100; 0 for none
    prompts.DEPTH = 11  # blocks 1..DEPTH get fresh tokens; 0: those of block 0 travel along
    prompts.DROPOUT = 0.1  # published code
    spectral = node.SPECTRAL = CfgNode()
    spectral.LAYERS = [0, 1]  # blocks with a spectral prompt in front; [] for none (paper, Table 3)
    spectral.SHARED_FILTER = True  # one filter for all layers (paper, code)
    spectral.INIT_STD = 0.02  # code
    spectral.TRAIN = True  # the paper calls the filter learnable


def _add_decoder_keys(node: CfgNode) -> None:
    decoder = node.DECODER = CfgNode()
    decoder.KIND = "spectral"  # spectral (SPT-SEG) or cross (ZegCLIP)
    decoder.LAYERS = 3  # paper, Table 4
    decoder.HEADS = 8  # of ZegCLIP's cross-attention
    decoder.FEEDFORWARD = 4.0  # width of the hidden layer over the joint width (2048 / 512)
    decoder.DROPOUT = 0.1
    decoder.ATTENTION_DROPOUT = 0.1
    # default (PyTorch's, layers are copies), trunc_normal (0.02), or clip (ours: masks start as
    # CLIP's own comparison of words and patches, for short trainings)
    decoder.INIT = "default"
    decoder.GATE = "random"  # random (code), or patches: opened at the first batch (ours)
    decoder.LOGITS = []  # initial scale and bias of the masks' logits (ours); [] for none (code)
    hilo = node.HILO = CfgNode()
    hilo.WINDOW = 3  # side of the high-frequency windows and of the low-frequency pooling
    hilo.HEADS = 8
    hilo.ALPHA = 0.9  # share of low-frequency heads (code); int(8 * 0.9) = 7
    hilo.ALPHA_IS_HIGH = False  # the paper's letter: ALPHA is the share of high-frequency heads
    hilo.HIGH_PROJECTION = False  # the code creates this projection and does not use it


def _add_loss_keys(node: CfgNode) -> None:
    loss = node.LOSS = CfgNode()
    loss.FOCAL = 100.0  # ZegCLIP's published configs; SPT-SEG published none
    loss.DICE = 0.0  # ZegCLIP 1
    loss.SSIM = 1.0  # ZegCLIP 0
    loss.FOCAL_ALPHA = 0.25
    loss.FOCAL_GAMMA = 2.0
    loss.SSIM_ON = "logits"  # logits (code) or sigmoid
    # A batch without one labelled pixel: zero loss, or every pixel a negative (published code).
    loss.EMPTY_BATCH_NEGATIVES = False
    loss.ACCURACY_PERIOD = 20  # iterations between logged pixel accuracies; 0 for never
