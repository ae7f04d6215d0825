"""Runners for ``tools/check_parity.py hclip ...`` and ``catseg ...``; importing registers them."""

from . import algebra, models

__all__ = ["algebra", "models"]
