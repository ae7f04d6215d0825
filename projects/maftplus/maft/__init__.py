"""MAFT, the predecessor of MAFT+: CLIP's image encoder learns to look at mask proposals."""

from .model import MAFT
from .proposals import MAFTProposals

__all__ = ["MAFT", "MAFTProposals"]
