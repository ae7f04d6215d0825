"""Tensor algebra of H-CLIP: T-products, mode products, Cayley maps, block-diagonal maps, energy."""

from .energy import hyperspherical_energy
from .orthogonal import (
    apply_block_diagonal,
    block_diagonal,
    cayley,
    orthogonality_defect,
    skew_part,
)
from .tproduct import (
    circ,
    fold,
    identity_tensor,
    mode_product,
    t_product,
    t_product_by_definition,
    t_transpose,
    transform,
    transform_product,
    unfold,
)

__all__ = [
    "apply_block_diagonal",
    "block_diagonal",
    "cayley",
    "circ",
    "fold",
    "hyperspherical_energy",
    "identity_tensor",
    "mode_product",
    "orthogonality_defect",
    "skew_part",
    "t_product",
    "t_product_by_definition",
    "t_transpose",
    "transform",
    "transform_product",
    "unfold",
]
