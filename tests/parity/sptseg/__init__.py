"""Reference vectors of SPT-SEG and ZegCLIP, computed with this package's parts."""

from . import decoders, inputs, models, towers

__all__ = ["decoders", "inputs", "models", "towers"]
