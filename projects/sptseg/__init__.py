"""SPT-SEG: spectral prompt tuning with a spectral-guided decoder, and its baseline ZegCLIP."""

from .config import add_sptseg_config
from .model import SPTSeg
from .unseen_only import UnseenOnlyEvaluator

__all__ = ["SPTSeg", "UnseenOnlyEvaluator", "add_sptseg_config"]
