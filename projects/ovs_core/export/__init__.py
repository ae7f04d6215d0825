"""One file that segments without the suite, for fixed words; read back and compared with the model.

A picture's way through the model becomes a ``torch.export`` program or ONNX, for one size; a method
may offer a file of its own beside these.
"""

from .check import Check, compare
from .files import load_program
from .run import export

__all__ = ["Check", "compare", "export", "load_program"]
