"""CLIPtrase: training-free open-vocabulary segmentation, with the baselines it is compared with."""

from .config import add_cliptrase_config
from .mapper import SquareCropMapper
from .model import CLIPtrase

__all__ = ["CLIPtrase", "SquareCropMapper", "add_cliptrase_config"]
