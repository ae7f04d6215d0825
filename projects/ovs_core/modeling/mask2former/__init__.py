"""Mask2Former's parts, written in plain PyTorch: nothing here is compiled."""

from .class_scores import class_scores, fit_masks, mask_pool
from .criterion import HeadOutput, SetCriterion, build_criterion
from .deformable_attention import DeformableAttention, deformable_sampling
from .mask_scores import MaskScores
from .matcher import Matcher
from .open_masks import open_mask_labels
from .pixel_decoder import PixelDecoder, PixelFeatures
from .point_sampling import sample_points, uncertain_points
from .position_encoding import sine_positions
from .query_init import QueryInit
from .query_segmenter import QuerySegmenter, whole_picture
from .targets import MaskTargets, read_targets
from .transformer_decoder import MaskedAttentionDecoder, Prediction, attention_mask

__all__ = [
    "DeformableAttention",
    "HeadOutput",
    "MaskScores",
    "MaskTargets",
    "MaskedAttentionDecoder",
    "Matcher",
    "PixelDecoder",
    "PixelFeatures",
    "Prediction",
    "QueryInit",
    "QuerySegmenter",
    "SetCriterion",
    "attention_mask",
    "build_criterion",
    "class_scores",
    "deformable_sampling",
    "fit_masks",
    "mask_pool",
    "open_mask_labels",
    "read_targets",
    "sample_points",
    "sine_positions",
    "uncertain_points",
    "whole_picture",
]
