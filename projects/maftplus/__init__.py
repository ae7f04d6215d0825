"""FC-CLIP and MAFT+: open-vocabulary masks on a convolutional CLIP."""

from . import mappers  # noqa: F401  fills the registry of mappers
from .config import add_maftplus_config
from .fcclip import FCCLIP
from .model import MAFTPlus

__all__ = ["FCCLIP", "MAFTPlus", "add_maftplus_config"]
