"""Structural similarity between score maps and label masks (Wang et al., 2004), for use as a loss.

Windows are Gaussian, 11 x 11 pixels, sigma 1.5, with zeros beyond the border. Letters: P maps,
h x w their grid, H x W pixels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # the usual constants for values in 0..1


def ssim_map(maps: Tensor, masks: Tensor) -> Tensor:
    """Compare maps with masks pixel by pixel.

    Args:
        maps: (P, H, W) scores.
        masks: (P, H, W) of 0 and 1.

    Returns:
        (P, H, W) similarity, at most 1.
    """
    masks = masks.to(maps.dtype)
    # A mask equals its own square, so its second moment is its mean.
    stack = torch.cat([maps, masks, maps * maps, maps * masks])
    mean_x, mean_y, square_x, product = _gaussian_filter(stack).chunk(4)
    variance_x, variance_y = square_x - mean_x**2, mean_y - mean_y**2
    covariance = product - mean_x * mean_y
    above = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return above / ((mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2))


def empty_ssim_map(maps: Tensor) -> Tensor:
    """``ssim_map`` for masks without a pixel, where means and covariances with the mask vanish.

    Args:
        maps: (P, H, W) scores.

    Returns:
        (P, H, W).
    """
    mean, square = _gaussian_filter(torch.cat([maps, maps * maps])).chunk(2)
    return _empty_ssim(mean, square)


def upsampled_empty_ssim_map(grids: Tensor, size: tuple[int, int]) -> Tensor:
    """``empty_ssim_map`` of bilinearly enlarged grids, without filtering at full size.

    An enlarged row is ``sum_i u_i x_i`` with two neighbouring weights at a time, so its square is a
    sum over ``u_i^2`` and ``2 u_i u_(i+1)``: a quadratic form on a grid of (2h - 1) x (2w - 1)
    products. Enlargement and filter are both separable and linear, hence one matrix per side.

    Args:
        grids: (P, h, w) scores.
        size: (H, W) to which they are enlarged.

    Returns:
        (P, H, W), equal to filtering the enlarged grids up to rounding.
    """
    rows, columns = (_matrices(n, m, grids) for n, m in zip(grids.shape[-2:], size, strict=True))
    mean = rows[0] @ grids @ columns[0].T
    square = rows[1] @ _neighbour_products(grids) @ columns[1].T
    return _empty_ssim(mean, square)


def enlargement_matrix(count: int, length: int, like: Tensor) -> Tensor:
    """Give the (length, count) matrix of bilinear enlargement (half-pixel centres) of one side."""
    eye = torch.eye(count, dtype=like.dtype, device=like.device)
    return F.interpolate(eye[None], size=length, mode="linear", align_corners=False)[0].T


def _empty_ssim(mean: Tensor, square: Tensor) -> Tensor:
    mean_square = mean * mean
    return (C1 * C2) / ((mean_square + C1) * (square - mean_square + C2))


def _neighbour_products(grids: Tensor) -> Tensor:
    """(P, h, w) -> (P, 2h - 1, 2w - 1): squares first, products of neighbours behind, both ways."""
    above, below, left, right = grids[:, :-1], grids[:, 1:], slice(None, -1), slice(1, None)
    same = torch.cat([grids * grids, grids[..., left] * grids[..., right]], dim=2)
    crossed = (above[..., left] * below[..., right] + above[..., right] * below[..., left]) / 2
    return torch.cat([same, torch.cat([above * below, crossed], dim=2)], dim=1)


def _matrices(count: int, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Filtered enlargement (length, count) and its quadratic counterpart (length, 2 count - 1)."""
    weights = enlargement_matrix(count, length, like)
    quadratic = torch.cat([weights * weights, 2 * weights[:, :-1] * weights[:, 1:]], dim=1)
    return _filter_side(weights.T).T, _filter_side(quadratic.T).T


def _filter_side(lines: Tensor) -> Tensor:
    kernel = _gaussian(lines.dtype, lines.device).view(1, 1, -1)
    return F.conv1d(lines[:, None], kernel, padding=WINDOW // 2)[:, 0]


def _gaussian_filter(maps: Tensor) -> Tensor:
    kernel = _gaussian(maps.dtype, maps.device)
    window = torch.outer(kernel, kernel).expand(len(maps), 1, -1, -1)
    return F.conv2d(maps[None], window, padding=WINDOW // 2, groups=len(maps))[0]


@lru_cache(maxsize=8)
def _gaussian(dtype: torch.dtype, device: torch.device) -> Tensor:
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    values = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    return (values / values.sum()).to(device=device, dtype=dtype)
