"""Hyperspherical energy of a weight matrix (H-CLIP Eq 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .orthogonal import widened


def hyperspherical_energy(weight: Tensor) -> Tensor:
    """Sum over ordered pairs of neurons of the inverse distance of their directions.

    An orthogonal matrix multiplied from the right keeps it exactly; one from the left does not.

    Args:
        weight: (..., n, d); neurons are the n rows, as in PyTorch's linear layers. Half precision
            is computed in float32.

    Returns:
        (...) energies.
    """
    units = F.normalize(widened(weight), dim=-1)
    # 1 - cosine loses digits for close neurons in float32; the difference itself does not.
    distances = torch.cdist(units, units, compute_mode="donot_use_mm_for_euclid_dist")
    off_diagonal = ~torch.eye(weight.shape[-2], dtype=torch.bool, device=weight.device)
    inverse = torch.where(off_diagonal, distances, torch.inf).reciprocal()
    return inverse.sum(dim=(-2, -1))
