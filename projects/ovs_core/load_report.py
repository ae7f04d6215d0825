"""The one matcher of weights: what a state dict gives a module, and loading what fits.

A CLIP's weight file, a checkpoint of the suite, one that other code published and the backbone of a
student all go through ``load_weights``, so that they are reported and refused in the same words.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import UserError

logger = logging.getLogger(__name__)

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class LoadReport:
    """Outcome of matching a state dict with a module.

    Attributes:
        used: names that will be loaded.
        missing: names that the module needs and the file lacks.
        unexpected: names in the file that the module does not have.
        shapes: ``name (file shape) instead of (module shape)``.
    """

    used: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything matched."""
        return not (self.missing or self.unexpected or self.shapes)

    @property
    def share(self) -> float:
        """Share of the needed tensors that were found, 0..1."""
        wanted = len(self.used) + len(self.missing) + len(self.shapes)
        return len(self.used) / wanted if wanted else 1.0

    def summary(self, limit: int | None = 3) -> str:
        """Describe in one line, with the first ``limit`` names of each group (None for all)."""
        parts = [f"{len(self.used)} tensors used"]
        groups = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of other shape": self.shapes,
        }
        for word, names in groups.items():
            if names:
                more = ", ..." if len(names) > len(names[:limit]) else ""
                parts.append(f"{len(names)} {word} ({', '.join(names[:limit])}{more})")
        return "; ".join(parts)

    def refusal(self, source: str | Path, owner: str, mend: str) -> UserError:
        """Word why the tensors are not loaded.

        Args:
            source: file, or config key and file, that they come from.
            owner: what they were to be loaded into, such as ``this config``.
            mend: what the person can do.
        """
        return UserError(f"{source}: does not fit {owner}: {self.summary()}; {mend}")


def find_tensors(content: object, source: str | Path) -> dict[str, Tensor]:
    """Take the tensors out of a file's content.

    Args:
        content: name -> tensor, maybe under ``state_dict`` or ``model``, among other entries.
        source: the file, for the message.

    Raises:
        UserError: if there is none.
    """
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise UserError(f"{source}: holds no state dict (found {type(content).__name__})")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{source}: its state dict holds no tensor")
    return tensors


def is_plain(value: object) -> bool:
    """Whether a value is a tensor that holds its numbers, each in its place."""
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not (value.is_meta or value.is_quantized)


def load_report(
    tensors: Mapping[str, Tensor],
    needed: Mapping[str, Tensor],
    *,
    known: Mapping[str, Tensor] | None = None,
) -> LoadReport:
    """Match a state dict with a module by name and shape.

    Args:
        tensors: what the file holds, in the module's names.
        needed: what the module must get; counters of batch norms are never missed.
        known: everything the module has; more than ``needed`` when a part is frozen. Default
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
        missing=tuple(
            n for n in needed if n not in tensors and not n.endswith("num_batches_tracked")
        ),
        unexpected=tuple(n for n in tensors if n not in known),
        shapes=tuple(shapes.values()),
    )


def load_weights(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    source: str | Path,
    owner: str,
    mend: str,
    needed: Mapping[str, Tensor] | None = None,
    known: Mapping[str, Tensor] | None = None,
    enough: float | None = None,
) -> LoadReport:
    """Load what fits into a module, or refuse.

    Args:
        module: what is filled.
        tensors: in the module's names; any floating type.
        source: file that they come from, for messages.
        owner: what the module is to the person, for messages.
        mend: what the person can do if they do not fit.
        needed: what must be given; default the module's whole state.
        known: what may be given; default ``needed``.
        enough: share of the needed tensors with which the module still works; the rest stays as it
            is, and tensors without a place are left out. By default all must match both ways.

    Returns:
        What was used, missing, unexpected and of other shape (also logged, with all names).

    Raises:
        UserError: if the tensors do not fit.
    """
    needed = module.state_dict() if needed is None else needed
    report = load_report(tensors, needed, known=known)
    logger.info("%s: %s", source, report.summary(limit=None))
    if not (report.complete if enough is None else report.share >= enough):
        raise report.refusal(source, owner, mend)
    everything = needed if known is None else {**needed, **known}
    for name in report.used:
        _check_values(name, tensors[name], everything[name], source)
    module.load_state_dict({name: tensors[name] for name in report.used}, strict=False)
    return report


def _check_values(name: str, tensor: Tensor, place: Tensor, source: str | Path) -> None:
    """Refuse values that no training gives, which would spoil every result without a word."""
    fault = ""
    if not is_plain(tensor):
        fault = "holds no plain values"
    elif not place.is_floating_point():
        return
    elif tensor.dtype not in _FLOATS:
        fault = f"holds {_name(tensor.dtype)} values where floats belong"
    elif not bool(torch.isfinite(tensor.to(place.dtype)).all()):
        fault = f"holds NaN or infinite values (as {_name(place.dtype)})"
    if fault:
        raise UserError(f"{source}: {name} {fault}; the file is damaged or of a broken training")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
