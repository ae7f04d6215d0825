"""The paper's pictures: attention before and after recovery, global patches, clusters, labels.

Figures 1, 2, 4-6, 9 and 10. Letters: L = 1 + N tokens (CLS first), N = h * w patches, H x W
picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.clip.attention import project_qkv
from ovs_core.draw import heat_overlay, sheet, with_legend
from ovs_core.errors import UserError
from ovs_core.files.writing import save_picture, write_json

from .correlation import correlation
from .model import CLIPtrase
from .regions import RegionRule, find_regions

NOISE_COLOR = (90, 90, 90)
# A patch is called global if it receives more than the mean plus this many standard deviations.
GLOBAL_DEVIATIONS = 3.0


@dataclass(frozen=True)
class TowerViews:
    """What the blocks of the untouched tower attend to.

    Attributes:
        grid: (h, w).
        attention: per block (L, L), mean over heads; softmax weights, or scaled products if raw.
        correlation: per block (L, L) correlation matrix W of its queries, keys and values.
    """

    grid: tuple[int, int]
    attention: list[Tensor]
    correlation: list[Tensor]


@torch.no_grad()
def look_into(model: CLIPtrase, images: Tensor, *, raw: bool = False) -> TowerViews:
    """Run the untouched tower and keep what its blocks attend to.

    Args:
        model: gives the tower.
        images: (1, 3, h', w') normalised.
        raw: scaled products in place of softmax weights.
    """
    attention: list[Tensor] = []
    matrices: list[Tensor] = []

    def record(index: int, tokens: Tensor, _: tuple[int, int]) -> Tensor:
        q, k, v = project_qkv(encoder.visual.transformer.resblocks[index], tokens)
        products = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        weights = products if raw else products.softmax(dim=-1)
        attention.append(weights.mean(dim=1)[0].cpu())
        matrices.append(correlation(q, k, v)[0].cpu())
        return tokens

    encoder = model.tower.encoder
    tokens, grid = encoder.embed(images)
    encoder.run_blocks(tokens, grid, before=record)
    return TowerViews(grid, attention, matrices)


def global_patches(attention: Tensor) -> tuple[Tensor, list[int]]:
    """Find patches that all others look at (section 3).

    Args:
        attention: (L, L) softmax weights.

    Returns:
        (N,) mean attention that each patch receives from the others, and the indices of those above
        the mean plus three standard deviations.
    """
    received = attention[1:, 1:].mean(dim=0)
    limit = received.mean() + GLOBAL_DEVIATIONS * received.std()
    return received, (received > limit).nonzero()[:, 0].tolist()


def heat(row: Tensor, grid: tuple[int, int], image: np.ndarray, patch: int = -1) -> np.ndarray:
    """Lay a row of weights over a picture.

    Args:
        row: (N,).
        grid: (h, w).
        image: (H, W, 3) uint8.
        patch: index of a patch to mark with a red dot; -1 for none.

    Returns:
        (H, W, 3) uint8.
    """
    size = image.shape[:2]
    maps = F.interpolate(row.float().view(1, 1, *grid), size=size, mode="bilinear")[0, 0]
    mixed = heat_overlay(image, maps.numpy())
    if patch >= 0:
        y, x = (
            (n + 0.5) * s / g for n, s, g in zip(divmod(patch, grid[1]), size, grid, strict=True)
        )
        rows, columns = np.ogrid[: size[0], : size[1]]
        radius = max(2.0, min(size) / 50)
        mixed[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = (255, 0, 0)
    return mixed


def matrix_picture(matrix: Tensor, side: int) -> np.ndarray:
    """Draw an (N, N) matrix as a square picture: (side, side, 3) uint8."""
    maps = F.interpolate(matrix[None, None].float(), size=(side, side), mode="area")[0, 0]
    # A few entries tower above the rest; the scale ends at the 99th percentile.
    low, high = torch.quantile(maps.flatten(), torch.tensor([0.01, 0.99]))
    scaled = ((maps - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    colors = matplotlib.colormaps["magma"](scaled.numpy())[..., :3]
    return (255 * colors).round().astype(np.uint8)


def cluster_picture(labels: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Paint the clusters of patches, noise in grey: (H, W, 3) uint8."""
    count = int(labels.max()) + 1
    hues = (np.arange(max(count, 1)) * 0.618034) % 1  # golden ratio: neighbours differ in hue
    colors = matplotlib.colormaps["hsv"](hues)[:, :3] * 255
    table = np.vstack([colors[:count], NOISE_COLOR]).astype(np.uint8)
    cells = table[labels.view(grid).numpy()]
    rows, columns = (np.arange(s) * g // s for s, g in zip(size, grid, strict=True))
    return cells[rows][:, columns]


def write_views(
    model: CLIPtrase,
    picture: Tensor,
    folder: Path,
    *,
    patch: tuple[int, int] | None = None,
    raw: bool = False,
) -> dict[str, Any]:
    """Write all pictures of one image.

    Args:
        model: with words, a view and regions.
        picture: (3, H, W) uint8 RGB.
        folder: made if absent; gets ``attention.png``, ``inter_patch.png``, ``recovery.png``,
            ``global_patches.png``, ``clusters.png``, ``overlay.png`` and ``report.json``.
        patch: (row, column) of the patch to look at; default the middle one.
        raw: raw products in place of softmax weights in the attention pictures.

    Returns:
        What ``report.json`` holds: grid, patch, clusters, noise and the global patches per block.

    Raises:
        UserError: if the model finds no regions by design, or the patch is outside the grid.
    """
    if model.view is None or model.region_rule is None:
        raise UserError("the pictures show clusters; choose a config with METHOD cliptrase")
    folder.mkdir(parents=True, exist_ok=True)
    image = picture.permute(1, 2, 0).cpu().numpy()
    sized = model.view.resize(picture.to(model.device), model.tower.encoder.patch_size)
    inputs, _ = model.view.frame(model.normalize(sized))
    views = look_into(model, inputs, raw=raw)
    index = _patch_index(patch, views.grid)
    names = [f"block {i + 1}" for i in range(len(views.attention))]

    blocks = [[heat(a[1 + index, 1:], views.grid, image, index) for a in views.attention],
              [heat(a[0, 1:], views.grid, image) for a in views.attention]]  # fmt: skip
    save_picture(sheet(blocks, names), folder / "attention.png")
    squares = [matrix_picture(a[1:, 1:], 160) for a in views.attention]
    save_picture(sheet([squares], names), folder / "inter_patch.png")
    report = _global_report(views, image, folder, raw)
    with torch.no_grad():
        encoded = model.encode_picture(picture)
        scores = model.score_picture(encoded, tuple(image.shape[:2]))
    _write_recovery(views, image, index, folder)
    raw_regions = find_regions(
        encoded.dense.correlation[0],
        views.grid,
        _undenoised(model),
        features=encoded.dense.patches[0],
    )
    before, after = raw_regions.labels.cpu(), encoded.regions.labels.cpu()
    size = image.shape[:2]
    pair = [
        image,
        cluster_picture(before, views.grid, size),
        cluster_picture(after, views.grid, size),
    ]
    save_picture(
        sheet([pair], ["picture", "clusters before denoising", "after"]), folder / "clusters.png"
    )
    labels = scores.labels().cpu().numpy()
    save_picture(with_legend(image, labels, model.vocabulary.names), folder / "overlay.png")
    report |= {
        "grid": list(views.grid),
        "patch": list(divmod(index, views.grid[1])),
        "clusters_before_denoising": raw_regions.count,
        "clusters": encoded.regions.count,
        "noise_patches": int((after < 0).sum()),
    }
    write_json(folder / "report.json", report)
    return report


def _write_recovery(views: TowerViews, image: np.ndarray, index: int, folder: Path) -> None:
    """The same patch before and after recovery: CLIP's last attention row, and rows of W."""
    columns = [image, heat(views.attention[-1][1 + index, 1:], views.grid, image, index)]
    titles = ["picture", "CLIP, last block"]
    for block in (-2, -1):
        row = views.correlation[block][1 + index, 1:]
        columns.append(heat(row, views.grid, image, index))
        titles.append(f"correlation, block {len(views.correlation) + block + 1}")
    save_picture(sheet([columns], titles), folder / "recovery.png")


def _global_report(views: TowerViews, image: np.ndarray, folder: Path, raw: bool) -> dict[str, Any]:
    weights = [a.softmax(dim=-1) for a in views.attention] if raw else views.attention
    found = [global_patches(a) for a in weights]
    maps = [heat(received, views.grid, image) for received, _ in found]
    names = [f"block {i + 1}: {len(own)}" for i, (_, own) in enumerate(found)]
    save_picture(sheet([maps], names), folder / "global_patches.png")
    cells = {
        f"block {i + 1}": [list(divmod(n, views.grid[1])) for n in own]
        for i, (_, own) in enumerate(found)
    }
    return {"global_patches": cells}


def _undenoised(model: CLIPtrase) -> RegionRule:
    return replace(model.region_rule, denoise="none")


def _patch_index(patch: tuple[int, int] | None, grid: tuple[int, int]) -> int:
    row, column = patch or (grid[0] // 2, grid[1] // 2)
    if not (0 <= row < grid[0] and 0 <= column < grid[1]):
        raise UserError(
            f"patch {row},{column} is outside the {grid[0]} x {grid[1]} patches of this picture"
        )
    return row * grid[1] + column
