"""Students by name."""

from __future__ import annotations

from collections.abc import Callable

from detectron2.utils.registry import Registry

from ovs_core.errors import UserError, nearest

KEY = "MODEL.CLIPTEACHER.STUDENT"

STUDENT_REGISTRY = Registry("STUDENT")
STUDENT_REGISTRY.__doc__ = """Students by name. An entry is called as ``entry(cfg, variant, dim)``
and gives a ``Student``; ``segformer_b4`` finds the entry ``segformer`` with the variant ``b4``."""


def find_student(name: str) -> tuple[Callable, str]:
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
    if name in known:
        return STUDENT_REGISTRY.get(name), ""
    if family in known:
        return STUDENT_REGISTRY.get(family), variant
    raise UserError(
        f"{KEY}.NAME: no student '{name}'.{nearest(name, known)} Registered: {', '.join(known)}"
    )
