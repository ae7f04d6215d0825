"""SPT-SEG: spectral prompt tuning with a spectral-guided decoder, and its baseline ZegCLIP."""

from .config import add_sptseg_config
from .model import SPTSeg

__all__ = ["SPTSeg", "add_sptseg_config"]
