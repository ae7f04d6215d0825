"""Tensor algebra of H-CLIP: T-products, mode products, Cayley maps, block-diagonal maps, energy."""

from .energy import hyperspherical_energy
from .orthogonal import (
    apply_block_diagonal,
    cayley,
    orthogonality_defect,
    skew_part,
)
from .tproduct import (
    circ,
    fold,
    mode_product,
    t_product,
    t_product_by_definition,
    transform,
    transform_product,
    unfold,
)

__all__ = [
    "apply_block_diagonal",
    "cayley",
    "circ",
    "fold",
    "hyperspherical_energy",
    "mode_product",
    "orthogonality_defect",
    "skew_part",
    "t_product",
    "t_product_by_definition",
    "transform",
    "transform_product",
    "unfold",
]
