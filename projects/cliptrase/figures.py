"""The paper's pictures: attention before and after recovery, global patches, clusters, labels.

Figures 1, 2, 4-6, 9 and 10, and CLIP-Surgery's maps of single words. Letters: L = 1 + N tokens (CLS
first), N = h * w patches, H x W picture.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.draw import heat_overlay, sheet, with_legend
from ovs_core.draw.colors import VOID_COLOR, Color, number_colors
from ovs_core.errors import UserError
from ovs_core.files.writing import save_picture, write_json
from ovs_core.modeling.scores import Size, resize

from .encoding import Encoded
from .model import CLIPtrase
from .regions import find_regions
from .similarity import similarity_map, similarity_points
from .surgery import SurgeryScorer
from .tower_views import TowerViews, global_patches, look_into

NOISE_COLOR: Color = (90, 90, 90)
RED: Color = (255, 0, 0)


def heat(row: Tensor, grid: Size, image: np.ndarray, patch: int = -1) -> np.ndarray:
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
    maps = resize(row.float().view(1, *grid), size)[0]
    mixed = heat_overlay(image, maps.numpy())
    if patch >= 0:
        y, x = (
            (n + 0.5) * s / g for n, s, g in zip(divmod(patch, grid[1]), size, grid, strict=True)
        )
        dot(mixed, x, y, RED)
    return mixed


def dot(image: np.ndarray, x: float, y: float, color: Color) -> None:
    """Draw a dot into an (H, W, 3) picture, in place."""
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    radius = max(2.0, min(image.shape[:2]) / 50)
    image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = color


def matrix_picture(matrix: Tensor, side: int) -> np.ndarray:
    """Draw an (N, N) matrix as a square picture: (side, side, 3) uint8."""
    maps = F.interpolate(matrix[None, None].float(), size=(side, side), mode="area")[0, 0]
    # A few entries tower above the rest; the scale ends at the 99th percentile.
    low, high = torch.quantile(maps.flatten(), torch.tensor([0.01, 0.99]))
    scaled = ((maps - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    colors = matplotlib.colormaps["magma"](scaled.numpy())[..., :3]
    return (255 * colors).round().astype(np.uint8)


def cluster_picture(labels: Tensor, grid: Size, size: Size) -> np.ndarray:
    """Paint the clusters of patches, noise in grey: (H, W, 3) uint8."""
    table = np.vstack([number_colors(int(labels.max()) + 1), NOISE_COLOR]).astype(np.uint8)
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
    encoder = model.tower.encoder
    sized = model.view.resize(picture.to(model.device), encoder.patch_size)
    views = look_into(encoder, model.view.frame(model.normalize(sized))[0], raw=raw)
    index = _patch_index(patch, views.grid)
    _write_attention(views, image, index, folder)
    _write_recovery(views, image, index, folder)
    report = {
        **_write_global_patches(views, image, folder, raw),
        "grid": list(views.grid),
        "patch": list(divmod(index, views.grid[1])),
    }
    with torch.no_grad():
        (encoded,) = model.encode_pictures([picture])
        matrix = model.mask_source(sized, encoded.dense, {}).to(model.device)
        report |= _write_clusters(model, encoded, matrix, image, folder)
        _write_overlay(model, encoded, image, folder)
    write_json(folder / "report.json", report)
    return report


@torch.no_grad()
def write_similarity(model: CLIPtrase, picture: Tensor, folder: Path) -> dict[str, Any]:
    """Write CLIP-Surgery's map of each word, with the points that would prompt a SAM there.

    Args:
        model: with words, a view and CLIP-Surgery's scores.
        picture: (3, H, W) uint8 RGB.
        folder: made if absent; gets ``similarity.png``, ``overlay.png`` and ``report.json``.

    Returns:
        What ``report.json`` holds: per word its foreground and background points, x and y.

    Raises:
        UserError: if the model has other scores.
    """
    if model.view is None or not isinstance(model.scorer, SurgeryScorer):
        raise UserError("choose a config with METHOD clip_surgery and a PROTOCOL of its own")
    folder.mkdir(parents=True, exist_ok=True)
    image = picture.permute(1, 2, 0).cpu().numpy()
    size: Size = image.shape[:2]
    (encoded,) = model.encode_pictures([picture])
    grids = model.score(encoded.dense).cpu()
    names, panels, report = model.vocabulary.names, [image], {}
    for name, grid, stretched in zip(names, grids[0], similarity_map(grids, size)[0], strict=True):
        points, labels = similarity_points(grid, size)
        panel = heat_overlay(image, stretched.numpy())
        for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True):
            dot(panel, x, y, RED if label else VOID_COLOR)
        panels.append(panel)
        report[name] = {
            "foreground": points[labels == 1].tolist(),
            "background": points[labels == 0].tolist(),
        }
    save_picture(sheet([panels], ["picture", *names]), folder / "similarity.png")
    _write_overlay(model, encoded, image, folder)
    write_json(folder / "report.json", report)
    return report


def _write_attention(views: TowerViews, image: np.ndarray, index: int, folder: Path) -> None:
    """What a patch and CLS attend to, block by block, and all patches as a matrix."""
    names = [f"block {i + 1}" for i in range(len(views.attention))]
    of_patch = [heat(a[1 + index, 1:], views.grid, image, index) for a in views.attention]
    of_cls = [heat(a[0, 1:], views.grid, image) for a in views.attention]
    save_picture(sheet([of_patch, of_cls], names), folder / "attention.png")
    squares = [matrix_picture(a[1:, 1:], 160) for a in views.attention]
    save_picture(sheet([squares], names), folder / "inter_patch.png")


def _write_clusters(
    model: CLIPtrase, encoded: Encoded, matrix: Tensor, image: np.ndarray, folder: Path
) -> dict[str, int]:
    """Clusters without and with denoising; gives their numbers."""
    dense, regions, rule = encoded.dense, encoded.regions, model.region_rule
    if regions is None or rule is None:
        raise ValueError("a picture that was encoded without regions has no clusters")
    undenoised = replace(rule, denoise="none")
    raw = find_regions(matrix, dense.grid, undenoised, features=dense.patches[0])
    before, after = raw.labels.cpu(), regions.labels.cpu()
    painted = [cluster_picture(labels, dense.grid, image.shape[:2]) for labels in (before, after)]
    titles = ["picture", "clusters before denoising", "after"]
    save_picture(sheet([[image, *painted]], titles), folder / "clusters.png")
    return {
        "clusters_before_denoising": raw.count,
        "clusters": regions.count,
        "noise_patches": int((after < 0).sum()),
    }


def _write_overlay(model: CLIPtrase, encoded: Encoded, image: np.ndarray, folder: Path) -> None:
    labels = model.score_picture(encoded, image.shape[:2]).labels().cpu().numpy()
    save_picture(with_legend(image, labels, model.vocabulary.names), folder / "overlay.png")


def _write_recovery(views: TowerViews, image: np.ndarray, index: int, folder: Path) -> None:
    """The same patch before and after recovery: CLIP's last attention row, and rows of W."""
    columns = [image, heat(views.attention[-1][1 + index, 1:], views.grid, image, index)]
    titles = ["picture", "CLIP, last block"]
    for block in (-2, -1):
        row = views.correlation[block][1 + index, 1:]
        columns.append(heat(row, views.grid, image, index))
        titles.append(f"correlation, block {len(views.correlation) + block + 1}")
    save_picture(sheet([columns], titles), folder / "recovery.png")


def _write_global_patches(
    views: TowerViews, image: np.ndarray, folder: Path, raw: bool
) -> dict[str, Any]:
    """What each patch receives, block by block; gives the global patches."""
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


def _patch_index(patch: tuple[int, int] | None, grid: tuple[int, int]) -> int:
    row, column = patch or (grid[0] // 2, grid[1] // 2)
    if not (0 <= row < grid[0] and 0 <= column < grid[1]):
        raise UserError(
            f"patch {row},{column} is outside the {grid[0]} x {grid[1]} patches of this picture"
        )
    return row * grid[1] + column
