"""Runners that compute the reference vectors of FC-CLIP and MAFT+ with this suite's code."""

from . import data, losses, mask2former, models

__all__ = ["data", "losses", "mask2former", "models"]
