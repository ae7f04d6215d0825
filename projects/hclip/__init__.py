"""H-CLIP (CVPR 2025) and CAT-Seg (CVPR 2024): fine-tuned CLIP with a cost aggregation decoder."""

from .config import add_hclip_config
from .detection import HCLIPDetector
from .finetune import FinetuneSettings, adapt
from .model import HCLIP, CATSeg
from .mosaic import HCLIPMosaic
from .pop import PartialOrthogonal, POPSettings

__all__ = [
    "CATSeg",
    "FinetuneSettings",
    "HCLIP",
    "HCLIPDetector",
    "HCLIPMosaic",
    "POPSettings",
    "PartialOrthogonal",
    "adapt",
    "add_hclip_config",
]
