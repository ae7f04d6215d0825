"""Config keys of SAN; published names where there is one."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.methods.ranges import (
    above,
    at_least,
    declare_ranges,
    from_up_to,
    list_of,
    texts,
)
from ovs_core.modeling.mask2former.criterion_keys import CRITERION_RANGES, add_criterion_keys

declare_ranges(
    "MODEL.SAN",
    **CRITERION_RANGES,
    FEATURE_LAST_LAYER_IDX=at_least(1),
    CLIP_FROZEN_EXCLUDE=texts(),
    CLIP_DEEPER_FROZEN_EXCLUDE=texts(),
    SIZE_DIVISIBILITY=at_least(1),
    CLIP_RESOLUTION=above(0),
)
declare_ranges(
    "MODEL.SIDE_ADAPTER",
    PATCH=at_least(1),
    WIDTH=at_least(1),
    DEPTH=at_least(1),
    HEADS=at_least(1),
    IMAGE_SIZE=at_least(1),
    DROP_PATH_RATE=from_up_to(0, 1),
    NUM_QUERIES=at_least(1),
    FUSION_MAP=texts(),
    DEEP_SUPERVISION_IDXS=list_of(at_least(1), least=1),
)
declare_ranges(
    "MODEL.SIDE_ADAPTER.ATTN_BIAS",
    NUM_HEADS=at_least(1),
    NUM_LAYERS=at_least(1),
    EMBED_CHANNELS=at_least(1),
    MLP_CHANNELS=at_least(1),
    MLP_NUM_LAYERS=at_least(1),
)


def add_san_config(cfg: CfgNode) -> None:
    """Add ``MODEL.SAN`` and ``MODEL.SIDE_ADAPTER`` to the suite's defaults, in place.

    Defaults are those of the published ViT-B/16.
    """
    _add_model_keys(cfg)
    _add_side_adapter_keys(cfg)


def _add_model_keys(cfg: CfgNode) -> None:
    node = cfg.MODEL.SAN = CfgNode()
    add_criterion_keys(node)
    node.FEATURE_LAST_LAYER_IDX = 9  # blocks of CLIP that give features; L/14: 18
    # Parts of names of CLIP's parameters that are trained, before and behind the split; "all"
    node.CLIP_FROZEN_EXCLUDE = ["positional_embedding"]
    node.CLIP_DEEPER_FROZEN_EXCLUDE = []
    node.REC_CROSS_ATTN = False  # recognition tokens in a pass of their own; the same numbers
    node.REC_DOWNSAMPLE_METHOD = "max"  # of the biases: max, avg, bilinear, bicubic
    # Where recognition tokens start: cls_token, learnable_token, pos_embedding (class token + own)
    node.SOS_TOKEN_FORMAT = "cls_token"
    node.SIZE_DIVISIBILITY = 32  # padded sides are multiples of it
    node.ASYMETRIC_INPUT = True  # CLIP sees a smaller picture than the adapter
    node.CLIP_RESOLUTION = 0.5  # by this factor; L/14: 0.7
    # Resize mask logits to the final size before they are summed; False: sum first, then resize
    node.SEM_SEG_POSTPROCESS_BEFORE_INFERENCE = True
    node.QUERY_INIT = ""  # training: file with a query_embed to begin from, as cliptrase makes it


def _add_side_adapter_keys(cfg: CfgNode) -> None:
    node = cfg.MODEL.SIDE_ADAPTER = CfgNode()
    # The published VIT_NAME vit_w240n6d8_patch16
    node.WIDTH, node.HEADS, node.DEPTH, node.PATCH = 240, 6, 8, 16
    node.IMAGE_SIZE = 640  # side of the picture that the table of positions is for
    node.DROP_PATH_RATE = 0.0  # stochastic depth of the last block; 0 in the first
    node.NUM_QUERIES = 100
    node.FUSION_MAP = ["0->0", "3->1", "6->2", "9->3"]  # level of CLIP -> block of the adapter
    node.DEEP_SUPERVISION_IDXS = [7, 8]  # blocks with losses; the last must be the last block
    bias = node.ATTN_BIAS = CfgNode()
    bias.NUM_HEADS = 12  # as many as CLIP's heads (L/14: 16), or 1 that all share
    bias.NUM_LAYERS = 1  # 1 for all recognition blocks, or as many as there are
    bias.EMBED_CHANNELS = 256
    bias.MLP_CHANNELS = 256
    bias.MLP_NUM_LAYERS = 3
    bias.RESCALE_ATTN_BIAS = True  # biases pass a learnt factor and offset
