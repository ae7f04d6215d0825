"""One file that segments without the suite, read back and compared with the model.

A picture's way through the model becomes a ``torch.export`` program or ONNX: for fixed words and
one size, or of words and sizes that come when it runs. A method may offer a file of its own beside
these.
"""

from .check import Check, compare
from .files import load_program
from .open_files import load_open_program, save_words
from .open_run import export_open
from .run import export

__all__ = [
    "Check",
    "compare",
    "export",
    "export_open",
    "load_open_program",
    "load_program",
    "save_words",
]
