"""CLIP through open_clip: the only room of the suite that touches it."""

from .identity import CARRIED, RANDOM, ClipIdentity, fingerprint
from .image_encoder import ImageEncoder, ImageTokens
from .loading import load_clip
from .model import CLIP
from .positions import PositionRule
from .text_embeddings import TextEmbedder
from .text_encoder import TextEncoder
from .weight_files import read_weight_file

__all__ = [
    "CARRIED",
    "CLIP",
    "RANDOM",
    "ClipIdentity",
    "ImageEncoder",
    "ImageTokens",
    "PositionRule",
    "TextEmbedder",
    "TextEncoder",
    "fingerprint",
    "load_clip",
    "read_weight_file",
]
