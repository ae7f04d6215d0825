"""Config keys of FC-CLIP, MAFT and MAFT+."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.methods.ranges import at_least, between, declare_ranges, list_of, one_of
from ovs_core.modeling.mask2former.criterion_keys import CRITERION_RANGES, add_criterion_keys

declare_ranges(
    "MODEL.FC_CLIP",
    GEOMETRIC_ENSEMBLE_ALPHA=between(0, 1),
    GEOMETRIC_ENSEMBLE_BETA=between(0, 1),
)
declare_ranges(
    "MODEL.MAFTPLUS",
    RC_WEIGHT=at_least(0),
    RC_SCALES=list_of(at_least(1), least=1),
    MASK_AWARE_WEIGHT=at_least(0),
    CDT_HEADS=at_least(1),
    DROP_PATH_SWITCH=at_least(0),
)
declare_ranges(
    "MODEL.MAFT",
    START_LAYER=at_least(0),
    CLIP_SIZE=at_least(1),
    TEMPERATURE=between(1, 100),
    DISTILLATION_WEIGHT=at_least(0),
    ENSEMBLE_WEIGHT=between(0, 1),
)
declare_ranges(
    "MODEL.RESNETS",
    RES4_DILATION=one_of(1, 2),
    RES5_MULTI_GRID=list_of(at_least(1), least=3, most=3),
)
declare_ranges(
    "MODEL.SEM_SEG_HEAD",
    CONVS_DIM=at_least(1),
    MASK_DIM=at_least(1),
    TRANSFORMER_ENC_LAYERS=at_least(0),
    TRANSFORMER_ENC_FEEDFORWARD=at_least(1),
)
declare_ranges(
    "MODEL.MASK_FORMER",
    NUM_OBJECT_QUERIES=at_least(1),
    HIDDEN_DIM=at_least(1),
    NHEADS=at_least(1),
    DIM_FEEDFORWARD=at_least(1),
    DEC_LAYERS=at_least(1),
    **CRITERION_RANGES,
)
declare_ranges(
    "MODEL.MASK_FORMER.TEST",
    OBJECT_MASK_THRESHOLD=between(0, 1),
    OVERLAP_THRESHOLD=between(0, 1),
)


def add_maftplus_config(cfg: CfgNode) -> None:
    """Add the keys of the three methods to the suite's defaults, in place.

    Defaults are the published values unless a comment says otherwise.
    """
    _add_mask_former_keys(cfg)
    fcclip = cfg.MODEL.FC_CLIP = CfgNode()
    fcclip.GEOMETRIC_ENSEMBLE_ALPHA = 0.4  # weight of CLIP's scores on seen classes
    fcclip.GEOMETRIC_ENSEMBLE_BETA = 0.8  # ... on unseen classes
    fcclip.ENSEMBLE_ON_VALID_MASK = False  # True for every ResNet
    maftplus = cfg.MODEL.MAFTPLUS = CfgNode()
    maftplus.RC_WEIGHT = 0.1  # published key MODEL.rc_weights; 0: no representation compensation
    # Arguments of the released class; its training uses these.
    maftplus.RC_SCALES = [1, 2, 4]
    maftplus.RC_PREPARATION = "relu"  # or none, pow (squares)
    maftplus.RC_DISTANCE = "sl1"  # or l1, frobenius
    maftplus.MASK_AWARE_WEIGHT = 1.0
    maftplus.TUNE_TRUNK = True  # False: frozen, which leaves nothing to compensate
    maftplus.CDT = True  # False: masks are compared with the text rows as they are
    maftplus.CDT_HEADS = 8  # second value of the published MODEL.cdt_params
    maftplus.CDT_NORM = "post"  # post: semantic checkpoints; branch: panoptic ones
    # published: the released code's memory order, which its weights need; spatial: a row per cell
    maftplus.CDT_LAYOUT = "published"
    # Stochastic depth in training: none, teacher, both, or published, which is the teacher's
    # alone until the released run's first evaluation, iteration DROP_PATH_SWITCH.
    maftplus.DROP_PATH = "none"
    maftplus.DROP_PATH_SWITCH = 5000
    _add_maft_keys(cfg)


def _add_maft_keys(cfg: CfgNode) -> None:
    maft = cfg.MODEL.MAFT = CfgNode()
    # Checkpoint of the first stage, whose mask proposals are used; not read where MODEL.WEIGHTS
    # names a checkpoint of MAFT, which holds them.
    maft.PROPOSALS = ""
    maft.BACKBONE_WEIGHTS = ""  # first stage: backbone trained on ImageNet, Detectron2's names
    maft.START_LAYER = 8  # first block in which class tokens look at masks; the release never reads
    # its own key START_LAYERS
    maft.CLIP_SIZE = 480  # side of the square that CLIP sees a picture as
    maft.TEMPERATURE = 100.0  # factor on cosines
    maft.DISTILLATION_WEIGHT = 0.1  # published key MODEL.dis_weight
    maft.ENSEMBLE_WEIGHT = 0.0  # published CLIP_ENSEMBLE_WEIGHT; 0: IP-CLIP's scores alone
    # Keys of Detectron2's build_resnet_deeplab_backbone.
    resnets = cfg.MODEL.RESNETS
    resnets.STEM_TYPE = "deeplab"  # or basic
    resnets.RES4_DILATION = 1
    resnets.RES5_MULTI_GRID = [1, 1, 1]


def _add_mask_former_keys(cfg: CfgNode) -> None:
    head = cfg.MODEL.SEM_SEG_HEAD
    head.CONVS_DIM = 256
    head.MASK_DIM = 256  # must equal MASK_FORMER.HIDDEN_DIM
    head.TRANSFORMER_ENC_LAYERS = 6
    head.TRANSFORMER_ENC_FEEDFORWARD = 1024  # fixed in the released code; its config says 2048
    former = cfg.MODEL.MASK_FORMER = CfgNode()
    former.NUM_OBJECT_QUERIES = 100  # FC-CLIP: 250
    former.HIDDEN_DIM = 256
    former.NHEADS = 8  # of both decoders
    former.DIM_FEEDFORWARD = 2048
    # Training: file with a query_embed to begin from, as `ovsuite analyse cliptrase` makes it
    former.QUERY_INIT = ""
    former.DEC_LAYERS = 10  # prediction heads; one attention layer less
    add_criterion_keys(former)
    test = former.TEST = CfgNode()
    test.SEMANTIC_ON = True
    test.PANOPTIC_ON = False
    test.INSTANCE_ON = False
    test.OBJECT_MASK_THRESHOLD = 0.0  # MAFT+ panoptic: 0.2
    test.OVERLAP_THRESHOLD = 0.8  # MAFT+ panoptic: 0.7
    # Resize mask logits, not soft masks, also when only labels are made; panoptic always does.
    test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE = False
    # TEST.IMS_PER_BATCH: pad a batch to its largest picture, as released; False pads each alone
    test.PAD_TOGETHER = False
