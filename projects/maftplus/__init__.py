"""FC-CLIP, MAFT and MAFT+: open-vocabulary masks on CLIP."""

from . import mappers  # noqa: F401  fills the registry of mappers
from .config import add_maftplus_config
from .fcclip import FCCLIP
from .maft import MAFT, MAFTProposals
from .model import MAFTPlus

__all__ = ["FCCLIP", "MAFT", "MAFTPlus", "MAFTProposals", "add_maftplus_config"]
