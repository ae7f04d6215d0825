"""Runners that compute the reference vectors of SAN with this suite's code."""

from . import data, models, parts

__all__ = ["data", "models", "parts"]
