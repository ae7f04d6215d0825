"""Runners that compute the reference vectors of FC-CLIP, MAFT and MAFT+ with this suite's code."""

from . import data, losses, maft, mask2former, models

__all__ = ["data", "losses", "maft", "mask2former", "models"]
