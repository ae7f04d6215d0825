"""Label conversions and evaluation figures."""

from . import evaluation, labels

__all__ = ["evaluation", "labels"]
