"""From what the adapter gives to mask logits and attention biases.

Letters: B pictures, Q queries, D adapter width, C embedding channels, A bias heads, S bias layers,
h x w adapter grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskMLP(nn.Module):
    """Layers with ReLUs between, over the last dimension or, as 1 x 1 convolutions, over channels.

    Args:
        sizes: widths from input to output.
        maps: whether it works on maps (B, channels, h, w).
    """

    def __init__(self, sizes: list[int], *, maps: bool = False) -> None:
        super().__init__()
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 1) if maps else nn.Linear(a, b) for a, b in pairs
        )

    def hidden(self, x: Tensor) -> Tensor:
        """What enters the last layer."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return x

    def last(self) -> tuple[Tensor, Tensor]:
        """Weight (last width, width before) and bias of the last layer."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None
        return layer.weight.flatten(1), layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., first width) -> (..., last width)."""
        result: Tensor = self.layers[-1](self.hidden(x))
        return result


class MaskBiasDecoder(nn.Module):
    """Compare queries with pixels, once for masks and once per head for attention biases.

    Args:
        width: D.
        bias_heads: A.
        bias_layers: S.
        channels: C.
        hidden: width between the layers of the MLPs.
        layers: of each MLP.
        rescale: whether biases pass a learnt factor and offset.
    """

    def __init__(
        self,
        width: int,
        *,
        bias_heads: int = 12,
        bias_layers: int = 1,
        channels: int = 256,
        hidden: int = 256,
        layers: int = 3,
        rescale: bool = True,
    ) -> None:
        super().__init__()
        between = [width] + [hidden] * (layers - 1)
        self.bias_heads, self.bias_layers, self.channels = bias_heads, bias_layers, channels
        self.query_mlp = MaskMLP([*between, channels])
        self.pix_mlp = MaskMLP([*between, channels], maps=True)
        self.attn_mlp = MaskMLP([*between, channels * bias_heads * bias_layers], maps=True)
        self.bias_scaling = nn.Linear(1, 1) if rescale else None

    def forward(self, queries: Tensor, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Decode one block's output.

        Args:
            queries: (B, Q, D).
            pixels: (B, D, h, w).

        Returns:
            (B, Q, h, w) mask logits, and S biases (B, A, Q, h, w).
        """
        embedding = self.query_mlp(queries)
        masks = torch.einsum("bqc,bchw->bqhw", embedding, self.pix_mlp(pixels))
        return masks, self._biases(embedding, pixels)

    def _biases(self, embedding: Tensor, pixels: Tensor) -> list[Tensor]:
        """<q, W x + b> as <W' q, x> + <q, b>: W is large, and queries are fewer than pixels."""
        shape = (self.bias_layers, self.bias_heads, self.channels)
        weight, bias = self.attn_mlp.last()
        towards = torch.einsum("bqc,lacm->blaqm", embedding, weight.unflatten(0, shape))
        offset = torch.einsum("bqc,lac->blaq", embedding, bias.view(shape))[..., None]
        inside = self.attn_mlp.hidden(pixels).flatten(2)
        biases = torch.einsum("blaqm,bmp->blaqp", towards, inside) + offset
        if self.bias_scaling is not None:
            biases = biases * self.bias_scaling.weight[0, 0] + self.bias_scaling.bias[0]
        return list(biases.unflatten(-1, tuple(pixels.shape[-2:])).unbind(1))
