"""ResCLIP's feedback: which patches a first label map puts together.

Section names of the paper: SFR, semantic feedback refinement. Letters: B pictures, Q words or
synonyms, h x w patches of p x p pixels, N = h * w, L = 1 + N tokens, H x W picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.modeling.pamr import pamr
from ovs_core.modeling.scores import Size, resize, size_of

# The released code always refines the first pass with these.
PAMR_STEPS, PAMR_DILATIONS = 10, (8, 16)


@dataclass(frozen=True)
class FeedbackRule:
    """From the cosines of a first pass to a matrix that is added to the scores of attention.

    Attributes:
        scale: factor on cosines before the softmax.
        threshold: pixels whose best word is less likely than this count as word 0.
        decay: whether patches with another label on the way between them agree less.
        std: of the smoothing, in patches of the flattened grid.
    """

    scale: float = 40.0
    threshold: float = 0.25
    decay: bool = True
    std: float = 5.0

    def probabilities(self, cosines: Tensor, images: Tensor) -> Tensor:
        """Refine cosines (B, Q, h, w) along the colours of (B, 3, H, W): (B, Q, H, W)."""
        maps = resize(cosines, size_of(images))
        maps = pamr(images, maps, steps=PAMR_STEPS, dilations=PAMR_DILATIONS)
        return (maps * self.scale).softmax(dim=1)

    def patch_labels(self, probabilities: Tensor, patch: Size) -> Tensor:
        """Give the most frequent word of each patch, the smallest on a tie.

        Args:
            probabilities: (B, Q, H, W).
            patch: (p, p); pixels beyond the last whole patch are left out.

        Returns:
            (B, h, w).
        """
        best, labels = probabilities.max(dim=1)
        labels = labels.masked_fill(best < self.threshold, 0)
        rows, columns = (side // p for side, p in zip(size_of(labels), patch, strict=True))
        labels = labels[:, : rows * patch[0], : columns * patch[1]]
        cells = labels.unflatten(2, (columns, patch[1])).unflatten(1, (rows, patch[0]))
        pixels = cells.permute(0, 1, 3, 2, 4).flatten(3)  # (B, h, w, p * p)
        words = probabilities.shape[1]
        counts = torch.zeros(*pixels.shape[:3], words, device=pixels.device)
        counts = counts.scatter_add(3, pixels, torch.ones_like(pixels, dtype=counts.dtype))
        most = counts == counts.amax(dim=3, keepdim=True)
        # argmax promises no order among equal counts on every device, so the rule is spelt out.
        return torch.where(most, torch.arange(words, device=most.device), words).amin(dim=3)

    def agreement(self, labels: Tensor) -> Tensor:
        """Say how far patches agree, smoothed and with CLS.

        Args:
            labels: (B, h, w).

        Returns:
            (B, L, L); row and column of CLS are 0.
        """
        flat = labels.flatten(1)
        agreed = (flat.unsqueeze(2) == flat.unsqueeze(1)).float()
        if self.decay:
            agreed = agreed * self._nearness(flat, size_of(labels))
        smooth = self._smoothed(agreed)
        return F.pad(smooth / (smooth.sum(dim=2, keepdim=True) + 1e-8), (1, 0, 1, 0))

    def __call__(self, cosines: Tensor, images: Tensor, patch: Size) -> Tensor:
        """(B, Q, h, w) cosines and (B, 3, H, W) pictures -> (B, L, L), its largest entry 1."""
        labels = self.patch_labels(self.probabilities(cosines, images), patch)
        agreed = self.agreement(labels)
        return agreed / agreed.amax(dim=(1, 2), keepdim=True)

    def _nearness(self, labels: Tensor, grid: Size) -> Tensor:
        """(B, N, N): 1, or exp(-distance) where another label lies on the line between two patches.

        As released, the line is sampled in steps of the longest distance of the grid, and of a pair
        that is m patches apart only the first m samples are looked at: near its beginning.
        """
        index = torch.arange(grid[0] * grid[1], device=labels.device)
        rows, columns = (index // grid[1]).float(), (index % grid[1]).float()
        apart = torch.maximum(
            (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
        )  # (N, N)
        longest = max(grid) - 1
        crossed = torch.zeros_like(labels, dtype=torch.bool).unsqueeze(2).expand(-1, -1, len(index))
        steps = torch.linspace(0, 1, longest + 1, device=labels.device)
        for number in range(1, longest + 1):
            t = steps[number]
            # float32 and half to even, as released: half-way positions are common
            row, column = (
                torch.round(x[:, None] * (1 - t) + x * t).long() for x in (rows, columns)
            )
            other = labels[:, row * grid[1] + column] != labels.unsqueeze(2)
            crossed = crossed | (other & (apart >= number))
        return torch.where(crossed, torch.exp(-apart / max(longest, 1)), 1.0)

    def _smoothed(self, agreed: Tensor) -> Tensor:
        """Smooth (B, N, N) along the flattened index of the second patch, zeros beyond."""
        length = min(agreed.shape[2], int(6 * self.std + 1))
        length += 1 - length % 2
        offsets = torch.arange(length, device=agreed.device) - length // 2
        kernel = torch.exp(-(offsets.float() ** 2) / (2 * self.std**2))
        kernel = (kernel / kernel.sum()).view(1, 1, -1)
        rows = agreed.flatten(0, 1).unsqueeze(1)
        return F.conv1d(rows, kernel, padding=length // 2).squeeze(1).view_as(agreed)
