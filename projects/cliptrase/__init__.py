"""CLIPtrase: training-free open-vocabulary segmentation, with the baselines it is compared with."""

from .config import add_cliptrase_config
from .mapper import SquareCropMapper
from .model import CLIPtrase
from .published_metric import CLIPtraseEvaluator

__all__ = ["CLIPtrase", "CLIPtraseEvaluator", "SquareCropMapper", "add_cliptrase_config"]
