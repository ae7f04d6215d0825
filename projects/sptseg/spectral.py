"""Spectral prompts (SPT-SEG, "Spectral Prompt Tuning", eqs. 3-6): a learnt filter on patch tokens.

Letters: B pictures, N = rows * columns patches, C tower width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ovs_core.errors import UserError

Grid = tuple[int, int]


class SpectralFilter(nn.Module):
    """Filter patch tokens in the frequency domain, one weight per frequency and channel.

    Args:
        grid: rows and columns of the patches; the weights belong to this grid alone.
        width: tower width C.
        std: of the initial weights.
    """

    def __init__(self, grid: Grid, width: int, *, std: float = 0.02) -> None:
        super().__init__()
        self.grid = tuple(grid)
        shape = (grid[0], grid[1] // 2 + 1, width, 2)  # real and imaginary part
        self.weight = nn.Parameter(torch.randn(shape) * std)

    def forward(self, patches: Tensor, cls: Tensor, grid: Grid) -> Tensor:
        """Give the spectral prompt, which is to be added to the patches.

        Args:
            patches: (B, N, C) tokens.
            cls: (B, 1, C) CLS token.
            grid: rows and columns of the patches.

        Returns:
            (B, N, C), type of ``patches``.

        Raises:
            UserError: if the grid is not the filter's.
        """
        if tuple(grid) != self.grid:
            raise UserError(
                f"the spectral filter belongs to a grid of {self.grid[0]} x {self.grid[1]} "
                f"patches, but the picture gives {grid[0]} x {grid[1]}; show it in windows of "
                "MODEL.SPTSEG.CROP pixels (MODEL.OVS.PROTOCOL.NAME slide), or train with "
                "another CROP"
            )
        # FFTs in half precision are restricted to some sizes and lose too much here.
        with torch.autocast(patches.device.type, enabled=False):
            prompt = self._filter((patches.float() * cls.float()).unflatten(1, self.grid))
        return prompt.flatten(1, 2).to(patches.dtype)

    def _filter(self, tokens: Tensor) -> Tensor:
        """(B, rows, columns, C) -> the same, filtered."""
        spectrum = torch.fft.rfft2(tokens, dim=(1, 2), norm="ortho")
        spectrum = spectrum * torch.view_as_complex(self.weight.float())
        # The learnt weights break the symmetry of a real picture's spectrum, so the order of the
        # inverse matters: rows first, complex; then columns, whose real inverse drops the rest.
        lines = torch.fft.ifft(spectrum, dim=1, norm="ortho")
        return torch.fft.irfft(lines, n=self.grid[1], dim=2, norm="ortho")
