"""CLIPtrase: training-free open-vocabulary segmentation, with the baselines it is compared with."""

from .config import add_cliptrase_config
from .model import CLIPtrase

__all__ = ["CLIPtrase", "add_cliptrase_config"]
