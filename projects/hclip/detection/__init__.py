"""Open-vocabulary detection on an adapted CLIP (H-CLIP Table 5, after CLIM's detector)."""

from .backbone import AdaptedBackbone
from .model import HCLIPDetector
from .region_classifier import RegionClassifier
from .roi_heads import RegionTextROIHeads
from .sampling import PictureRPN

__all__ = [
    "AdaptedBackbone",
    "HCLIPDetector",
    "PictureRPN",
    "RegionClassifier",
    "RegionTextROIHeads",
]
