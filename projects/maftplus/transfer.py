"""Content-Dependent Transfer (MAFT+): every text row looks at the picture before it is compared.

Letters: B pictures, C trunk width, h x w its grid, E joint width, S + 1 text rows.
"""

from __future__ import annotations

from torch import Tensor, nn

from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.mask2former import sine_positions
from ovs_core.modeling.mask2former.transformer_decoder import run_attention

LAYOUTS = ("published", "spatial")
NORMS = ("post", "branch")


def dense_embedding(encoder: ConvEncoder, dense: Tensor, *, layout: str) -> Tensor:
    """Bring trunk features to the joint space.

    Args:
        encoder: gives the projection.
        dense: (B, C, h, w).
        layout: ``spatial`` projects the C channels of every cell. ``published`` cuts the
            channel-by-channel memory into stretches of C numbers instead, which mixes cells; the
            published weights were trained with it.

    Returns:
        (B, E, h, w).
    """
    batch, channels, height, width = dense.shape
    if layout == "published":
        rows = dense.reshape(batch, height * width, channels)
    else:
        rows = dense.flatten(2).transpose(1, 2)
    return encoder.project(rows).transpose(1, 2).unflatten(2, (height, width))


class ContentTransfer(nn.Module):
    """Cross-attention from text rows to the picture, one linear layer, a residual and a norm.

    Args:
        dim: joint width E.
        heads: attention heads.
        norm: ``post`` normalises the sum (semantic checkpoints); ``branch`` normalises what is
            added and starts at zero (panoptic checkpoints).
        layout: see ``dense_embedding``.
    """

    def __init__(
        self, dim: int, *, heads: int = 8, norm: str = "post", layout: str = "published"
    ) -> None:
        super().__init__()
        check_choice("MODEL.MAFTPLUS.CDT_NORM", norm, NORMS)
        check_choice("MODEL.MAFTPLUS.CDT_LAYOUT", layout, LAYOUTS)
        if dim % heads:
            raise UserError(
                f"MODEL.MAFTPLUS.CDT_HEADS: {heads} does not divide the joint width {dim}"
            )
        self.norm_kind, self.layout = norm, layout
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.attention.out_proj.weight)
        if norm == "branch":
            nn.init.zeros_(self.mlp.weight)
            nn.init.zeros_(self.mlp.bias)

    def forward(self, embedding: Tensor, texts: Tensor) -> Tensor:
        """Adapt the text rows to pictures.

        Args:
            embedding: (B, E, h, w) dense embedding.
            texts: (S + 1, E) rows.

        Returns:
            (B, S + 1, E), not normalised, and to be used so.
        """
        batch, dim, height, width = embedding.shape
        rows = texts.expand(batch, -1, -1)
        memory = embedding.flatten(2).transpose(1, 2)
        positions = sine_positions((height, width), dim, device=memory.device).flatten(1).t()
        added = self.mlp(run_attention(self.attention, rows, memory + positions, memory))
        if self.norm_kind == "branch":
            return rows + self.norm(added)
        return self.norm(rows + added)
