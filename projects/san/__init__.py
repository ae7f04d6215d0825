"""SAN: a side adapter finds masks beside a frozen CLIP and biases what CLIP looks at."""

from .config import add_san_config
from .model import SAN

__all__ = ["SAN", "add_san_config"]
