"""Evaluators of semantic, panoptic and instance segmentation, and the arithmetic behind them."""

from .build import build_evaluator, evaluator_types, register_evaluator
from .confusion import (
    SemSegFigures,
    count_pairs,
    semseg_figures,
    smoothed_figures,
    split_figures,
)
from .contract import RESULT_KEYS, Evaluator, figures_of
from .instance import OVSInstanceEvaluator, ap50_split
from .mask_ap import OVSMaskAPEvaluator
from .panoptic import OVSPanopticEvaluator
from .panoptic_quality import PanopticFigures, PanopticMatcher
from .results import Report
from .semantic import OVSSemSegEvaluator

__all__ = [
    "RESULT_KEYS",
    "Evaluator",
    "OVSInstanceEvaluator",
    "OVSMaskAPEvaluator",
    "OVSPanopticEvaluator",
    "OVSSemSegEvaluator",
    "PanopticFigures",
    "PanopticMatcher",
    "Report",
    "SemSegFigures",
    "ap50_split",
    "build_evaluator",
    "count_pairs",
    "evaluator_types",
    "figures_of",
    "register_evaluator",
    "semseg_figures",
    "smoothed_figures",
    "split_figures",
]
