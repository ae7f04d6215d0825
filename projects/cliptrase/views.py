"""How a picture is brought to the tower: the two released ways and the fair one.

``standalone`` takes the square crop that the mapper made (the published tables); ``d2`` pads and
halves like the released Detectron2 port; ``fullres`` shows the whole picture at a short side of S
pixels and labels it at its own size. Letters: H' x W' the picture as it arrives, S the short side,
p the patch side.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.scores import GridScores, Size, size_of
from ovs_core.tensor.resampling import known_later, smaller, smooth_cubic_matrix

PROTOCOLS = ("standalone", "fullres", "d2")


@dataclass(frozen=True)
class Frame:
    """Where the patch grid lies on the picture.

    Attributes:
        canvas: size in pixels that the grid covers, if the picture was padded; else None.
        valid: (height, width) of the picture on the canvas.
    """

    canvas: Size | None = None
    valid: Size | None = None

    def scores(self, grid: Tensor, size: Size) -> GridScores:
        """Give (K, h, w) maps as scores at (H, W)."""
        return GridScores(grid, size, canvas=self.canvas, valid=self.valid)

    def matrix(self, cells: int, side: int, axis: int, *, like: Tensor) -> Tensor:
        """Give the upsampling along one axis as a matrix.

        Args:
            cells: grid cells along the axis.
            side: final pixels along the axis.
            axis: 0 for rows, 1 for columns.
            like: gives dtype and device.

        Returns:
            (side, cells).
        """
        basis = like.new_zeros(cells, cells)
        basis.fill_diagonal_(1)
        frame = self
        if self.canvas is not None and self.valid is not None:
            frame = Frame((self.canvas[axis], 1), (self.valid[axis], 1))
        # (cells as classes, cells, 1) -> (cells, side, 1)
        return frame.scores(basis.unsqueeze(2), (side, 1)).full()[:, :, 0].T

    def matrices(self, grid: Size, size: Size, *, like: Tensor) -> tuple[Tensor, Tensor]:
        """Give the upsampling of rows (H, h) and of columns (W, w); see ``matrix``."""
        rows = self.matrix(grid[0], size[0], 0, like=like)
        return rows, self.matrix(grid[1], size[1], 1, like=like)


@dataclass(frozen=True)
class View:
    """Bring a picture to the tower.

    Attributes:
        protocol: ``standalone``, ``fullres`` or ``d2``.
        side: S; standalone demands it, fullres resizes to it.
        divisor: d2: the picture is padded to a multiple of this.
        scale: d2: factor on the padded picture.
        cut_padding: d2: whether scores of the padding are cut off. The released port does not,
            which stretches its result a little.
    """

    protocol: str = "standalone"
    side: int = 224
    divisor: int = 32
    scale: float = 0.5
    cut_padding: bool = True

    def __post_init__(self) -> None:
        """Refuse unknown protocols.

        Raises:
            UserError: for an unknown name.
        """
        check_choice("MODEL.CLIPTRASE.PROTOCOL", self.protocol, PROTOCOLS)

    def resize(self, picture: Tensor, patch: Size) -> Tensor:
        """Bring RGB pictures to the size that they are normalised at.

        Args:
            picture: (..., 3, H', W') in 0..255; the sides may be symbols of a program.
            patch: (p, p) of the tower.

        Returns:
            (..., 3, H'', W''); for ``fullres`` both sides are the nearest multiples of p, because
            the tower drops a remainder and the label map would shift against the picture.

        Raises:
            UserError: if ``standalone`` gets a picture that is not the S x S crop.
        """
        height, width = picture.shape[-2:]
        if self.protocol == "fullres" and known_later((height, width)):
            return self._resize_later(picture, patch)
        if self.protocol == "standalone":
            if (height, width) != (self.side, self.side):
                raise UserError(
                    f"PROTOCOL standalone labels a {self.side} x {self.side} crop, but the picture "
                    f"has {height} x {width} pixels; set MODEL.CLIPTRASE.PROTOCOL fullres for "
                    "whole pictures"
                )
            return picture
        if self.protocol == "d2":
            return picture
        factor = self.side / min(height, width)
        size = tuple(
            max(1, round(n * factor / p)) * p for n, p in zip((height, width), patch, strict=True)
        )
        if size == (height, width):
            return picture
        batch = picture if picture.ndim == 4 else picture[None]
        resized = F.interpolate(
            batch.float(), size=size, mode="bicubic", align_corners=False, antialias=True
        )
        return resized.view(*picture.shape[:-2], *size).round_().clamp_(0, 255)

    def _resize_later(self, picture: Tensor, patch: Size) -> Tensor:
        """``fullres`` for sides that a program knows only when it runs, in whole numbers."""
        height, width = picture.shape[-2:]
        short = smaller(height, width)
        pairs = zip((height, width), patch, strict=True)
        # the nearest multiples of p to n * S / short
        new = [(2 * n * self.side + short * p) // (2 * short * p) * p for n, p in pairs]
        rows = smooth_cubic_matrix(new[0], height, like=picture)
        columns = smooth_cubic_matrix(new[1], width, like=picture)
        return (rows @ picture @ columns.T).round().clamp(0, 255)

    def frame(self, picture: Tensor) -> tuple[Tensor, Frame]:
        """Turn normalised pictures into the tower's input.

        Args:
            picture: (3, H'', W'') normalised, or (B, 3, H'', W'').

        Returns:
            (B, 3, h', w') input, one picture as B = 1, and where its grid lies on the picture.
        """
        pictures = picture if picture.ndim == 4 else picture[None]
        if self.protocol != "d2":
            return pictures, Frame()
        height, width = picture.shape[-2:]
        # The released port pads after normalising, so the padding is mean grey.
        padded = F.pad(pictures, (0, -width % self.divisor, 0, -height % self.divisor))
        canvas = size_of(padded)
        small = F.interpolate(padded, scale_factor=self.scale, mode="bilinear", align_corners=False)
        if not self.cut_padding:
            return small, Frame()
        return small, Frame(canvas, (height, width))
