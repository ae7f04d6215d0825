"""Unsupervised segmentation without class names (supplement, Table 8).

The paper describes no protocol; this is ours: unit mask-average-pooled features of all regions of a
dataset are clustered by k-means, every pixel takes the number of its region's cluster, and
clusters are matched to classes one to one so that as many pixels as possible agree (Hungarian
algorithm).
Letters: C classes, G clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ovs_core.errors import UserError
from ovs_core.evaluation import SemSegFigures, count_pairs, semseg_figures
from ovs_core.evaluation.confusion import mean_of_known

from .encoding import Encoded
from .model import CLIPtrase
from .pooling import mask_average_pool, masks_on_grid, spherical_kmeans


@dataclass(frozen=True)
class Picture:
    """The regions of one picture.

    Attributes:
        masks: (H, W) region of each pixel.
        features: (K, D) pooled feature of each region.
        truth: (H, W) true classes; C or more does not count.
    """

    masks: Tensor
    features: Tensor
    truth: Tensor


def pool_regions(
    model: CLIPtrase, encoded: Encoded, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Give regions at picture size and their pooled features.

    A picture in which nothing clusters is one region.

    Args:
        model: with regions.
        encoded: an encoded picture.
        size: (H, W).

    Returns:
        (H, W) region of each pixel, (K, D) features.
    """
    grid = encoded.dense.grid
    masks = model.region_masks(encoded, size)
    if masks is None:
        masks = torch.zeros(size, dtype=torch.int64, device=model.device)
    count = int(masks.max()) + 1
    features = encoded.dense.patches[0].T.unflatten(1, grid)
    return masks, mask_average_pool(features, masks_on_grid(masks, count, grid))


def collect(
    model: CLIPtrase, samples: Iterable[tuple[dict[str, Any], np.ndarray]], *, num_classes: int
) -> list[Picture]:
    """Find the regions of all pictures.

    Args:
        model: with regions, in eval mode.
        samples: mapped pictures with their (H, W) true labels; labels outside 0..C-1 do not count.
        num_classes: C.

    Returns:
        One entry per picture.
    """
    pictures = []
    for one, labels in tqdm(samples, desc="regions", unit="picture"):
        with torch.no_grad():
            (encoded,) = model.encode_pictures([one["image"]], [one])
            masks, features = pool_regions(model, encoded, tuple(labels.shape))
        known = (labels >= 0) & (labels < num_classes)
        truth = torch.from_numpy(np.where(known, labels, num_classes))
        small = masks.to(torch.int16 if len(features) < 2**15 else torch.int32)
        pictures.append(Picture(small.cpu(), features.cpu(), truth.to(torch.int16)))
    return pictures


def evaluate_clusters(
    pictures: Sequence[Picture], num_classes: int, *, clusters: int = 0, seed: int = 0
) -> tuple[SemSegFigures, np.ndarray]:
    """Cluster the regions of a dataset, match clusters to classes, and score.

    Args:
        pictures: from ``collect``.
        num_classes: C.
        clusters: G; 0 for C.
        seed: of k-means.

    Returns:
        The figures, and (G,) the class of each cluster, -1 for one that matches none.

    Raises:
        UserError: if there are fewer regions than clusters.
    """
    clusters = clusters or num_classes
    features = torch.cat([p.features for p in pictures])
    if len(features) < clusters:
        raise UserError(
            f"{len(pictures)} pictures have {len(features)} regions, too few for {clusters} "
            "clusters; take more pictures"
        )
    _, assigned = spherical_kmeans(features, clusters, seed=seed)
    side = max(clusters, num_classes)
    counts = np.zeros((side + 1, side + 1), dtype=np.int64)
    for picture, own in zip(
        pictures, assigned.split([len(p.features) for p in pictures]), strict=True
    ):
        truth = picture.truth.long()
        truth = truth.masked_fill(truth == num_classes, side)
        counts += count_pairs(own[picture.masks.long()], truth, side).numpy()
    return match_clusters(counts, clusters, num_classes)


def match_clusters(
    counts: np.ndarray, clusters: int, num_classes: int
) -> tuple[SemSegFigures, np.ndarray]:
    """Match clusters to classes and compute the figures.

    Args:
        counts: (S + 1, S + 1) pairs with S the larger of G and C; rows are clusters, columns true
            classes, the last index does not count.
        clusters: G.
        num_classes: C.

    Returns:
        The figures over C classes, and (G,) the class of each cluster, -1 for none.
    """
    from scipy.optimize import linear_sum_assignment  # takes long to load; one command needs it

    rows, columns = linear_sum_assignment(counts[:clusters, :num_classes], maximize=True)
    matched = np.full(clusters, -1)
    matched[rows] = columns
    # Pixels of clusters without a class are wrong: they are put into one more class, which has no
    # truth, so that they count as missed; then that class is taken out again.
    figures = np.zeros((num_classes + 2, num_classes + 2), dtype=np.int64)
    target = np.where(matched < 0, num_classes, matched)
    np.add.at(figures, (target[:, None], np.arange(num_classes)), counts[:clusters, :num_classes])
    result = semseg_figures(figures)
    union = result.iou_union[:num_classes]
    own = replace(
        result,
        iou=result.iou[:num_classes],
        acc=result.acc[:num_classes],
        iou_union=union,
        miou_union=mean_of_known(union),
        absent=result.absent - 1,
    )
    return own, matched
