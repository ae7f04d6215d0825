"""Labels of the reference vectors, which write 255 where nothing counts, and the suite's."""

from __future__ import annotations

from torch import Tensor

from ovs_core.words.label_space import IGNORE

STORED_IGNORE = 255


def canonical(labels: Tensor) -> Tensor:
    """Bring labels (..., H, W) of a reference file to the suite's."""
    if not labels.is_floating_point():
        labels = labels.long()
    return labels.masked_fill(labels == STORED_IGNORE, IGNORE)


def stored(labels: Tensor) -> Tensor:
    """Bring labels (..., H, W) of the suite to those of a reference file."""
    return labels.masked_fill(labels == IGNORE, STORED_IGNORE)
