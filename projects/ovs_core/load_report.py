"""Saying what a state dict gives a model: used, missing, unexpected, of other shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LoadReport:
    """Outcome of matching a state dict with a model.

    Attributes:
        used: names that will be loaded.
        missing: names that the model needs and the file lacks.
        unexpected: names in the file that the model does not have.
        shapes: ``name (file shape) instead of (model shape)``.
    """

    used: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether everything matched."""
        return not (self.missing or self.unexpected or self.shapes)

    @property
    def share(self) -> float:
        """Share of the needed tensors that were found, 0..1."""
        wanted = len(self.used) + len(self.missing) + len(self.shapes)
        return len(self.used) / wanted if wanted else 1.0

    def summary(self, limit: int = 3) -> str:
        """Describe in one line, with the first ``limit`` names of each group."""
        parts = [f"{len(self.used)} tensors used"]
        groups = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of other shape": self.shapes,
        }
        for word, names in groups.items():
            if names:
                more = ", ..." if len(names) > limit else ""
                parts.append(f"{len(names)} {word} ({', '.join(names[:limit])}{more})")
        return "; ".join(parts)


def load_report(
    tensors: Mapping[str, Tensor],
    needed: Mapping[str, Tensor],
    *,
    known: Mapping[str, Tensor] | None = None,
) -> LoadReport:
    """Match a state dict with a model by name and shape.

    Args:
        tensors: what the file holds, in the model's names.
        needed: what the model must get.
        known: everything the model has; more than ``needed`` when a part is frozen. Default
            ``needed``.
    """
    known = needed if known is None else known
    shapes = {
        name: f"{name} {tuple(tensors[name].shape)} instead of {tuple(known[name].shape)}"
        for name in tensors
        if name in known and tensors[name].shape != known[name].shape
    }
    return LoadReport(
        used=tuple(n for n in tensors if n in known and n not in shapes),
        missing=tuple(n for n in needed if n not in tensors),
        unexpected=tuple(n for n in tensors if n not in known),
        shapes=tuple(shapes.values()),
    )
