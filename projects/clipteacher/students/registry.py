"""Students by name."""

from __future__ import annotations

from collections.abc import Callable

from detectron2.utils.registry import Registry
from torch import nn

from ovs_core.errors import check_choice

KEY = "MODEL.CLIPTEACHER.STUDENT"

STUDENT_REGISTRY = Registry("STUDENT")
STUDENT_REGISTRY.__doc__ = """Students by name. An entry is called as ``entry(cfg, variant, dim)``
and gives a ``Student``; ``segformer_b4`` finds the entry ``segformer`` with the variant ``b4``."""


def find_student(name: str) -> tuple[Callable[..., nn.Module], str]:
    """Split a student's name into its registered entry and a variant.

    Args:
        name: an entry, or an entry and a variant: ``segformer_b4``.

    Returns:
        The entry, and the variant or ``""``.

    Raises:
        UserError: if there is no such entry.
    """
    known = [entry for entry, _ in STUDENT_REGISTRY]
    family, _, variant = name.rpartition("_")
    if family in known and name not in known:
        return STUDENT_REGISTRY.get(family), variant
    check_choice(f"{KEY}.NAME", name, known)
    return STUDENT_REGISTRY.get(name), ""
