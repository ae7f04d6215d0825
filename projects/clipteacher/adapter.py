"""Visual-Language Adapter (section 3.3, Table 5): from feature centroids to classifier rows.

Training only; at test time every class has a text feature.

Letters: P classes with a centroid, B pictures, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.errors import UserError, check_choice

ADAPTERS = ("decoder", "mlp", "identity")
KEY = "MODEL.CLIPTEACHER.VLA"


class VisualLanguageAdapter(nn.Module):
    """Bring centroids of student features near the text features.

    Args:
        dim: C.
        kind: ``decoder``: a transformer decoder whose memory are the pictures' CLS tokens; ``mlp``:
            two layers, each row alone; ``identity``: the centroids themselves.
        layers: decoder layers.
        heads: decoder heads.
        feedforward: width of the decoder's hidden layer.
        dropout: of the decoder.
        unit_output: make the rows unit length, as the text features are.
    """

    def __init__(
        self,
        dim: int,
        *,
        kind: str = "decoder",
        layers: int = 3,
        heads: int = 8,
        feedforward: int = 2048,
        dropout: float = 0.1,
        unit_output: bool = True,
    ) -> None:
        super().__init__()
        check_choice(f"{KEY}.TYPE", kind, ADAPTERS)
        self.kind, self.unit_output = kind, unit_output
        if kind == "decoder":
            if layers < 1 or dim % heads:
                raise UserError(
                    f"{KEY}: LAYERS {layers} must be positive, and HEADS {heads} divide the "
                    f"feature width {dim}"
                )
            layer = nn.TransformerDecoderLayer(dim, heads, feedforward, dropout, batch_first=True)
            self.decoder = nn.TransformerDecoder(layer, layers)
        elif kind == "mlp":
            self.fc1, self.fc2 = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, centroids: Tensor, cls: Tensor) -> Tensor:
        """Compute classifier rows.

        Args:
            centroids: (P, C), seen classes first.
            cls: (B, C) CLS tokens of the batch.

        Returns:
            (P, C).
        """
        rows = centroids
        if self.kind == "decoder":
            rows = self.decoder(centroids[None], cls[None])[0]
        elif self.kind == "mlp":
            rows = self.fc2(F.relu(self.fc1(centroids)))
        return F.normalize(rows, dim=-1, eps=1e-12) if self.unit_output else rows
