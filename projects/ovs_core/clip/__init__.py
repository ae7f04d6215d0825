"""CLIP through open_clip: the only room of the suite that touches it."""

from .image_encoder import ImageEncoder, ImageTokens
from .loading import CLIP, fingerprint, load_clip
from .positions import PositionRule
from .text_embeddings import TextEmbedder
from .text_encoder import TextEncoder
from .weight_files import read_weight_file

__all__ = [
    "CLIP",
    "ImageEncoder",
    "ImageTokens",
    "PositionRule",
    "TextEmbedder",
    "TextEncoder",
    "fingerprint",
    "load_clip",
    "read_weight_file",
]
