"""What the training asks of pictures, captions and patches.

No patch is ever labelled. A phrase ("car", "red car", "grass") is compared with all patches of a
picture, and a soft maximum over them is contrasted as CLIP contrasts pictures and captions. Beside
it, every patch shall show something that is in view in the picture, whatever it be.
Letters: B pictures, T captions, N patches, D joint width, P phrases, A atoms.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ovs_core.data.embedded.vocabulary import COLOURS, STUFF, THINGS


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor, true: Tensor) -> Tensor:
    """CLIP's symmetric loss where several captions may be true of a picture and vice versa.

    Args:
        image: (B, D) image features.
        text: (T, D) features of the batch's distinct captions.
        scale: the logit scale.
        true: (B, T) whether a caption is true of a picture.
    """
    return symmetric_loss(scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T, true)


def pooled_loss(scores: Tensor, facts: Tensor, *, sharpness: float, scale: float) -> Tensor:
    """Contrast pictures and phrases, a picture answering with a soft maximum over its patches.

    Args:
        scores: (B, N, P) cosines of patches and phrases.
        facts: (B, P) 1 where a phrase is true of a picture.
        sharpness: of the soft maximum; it nears the mean at 0 and the maximum at infinity.
        scale: factor on the pooled cosines.
    """
    count = math.log(scores.shape[1])
    pooled = (torch.logsumexp(sharpness * scores, 1) - count) / sharpness
    return symmetric_loss(scale * pooled, facts)


def symmetric_loss(logits: Tensor, true: Tensor) -> Tensor:
    """Mean cross entropy of rows and columns with all that is true of each; empty ones left out.

    Args:
        logits: (B, T) scores.
        true: (B, T) 1 where column and row belong together.
    """
    target = true.float()
    losses = []
    for axis in (0, 1):
        count = target.sum(axis)
        each = -(target * logits.log_softmax(axis)).sum(axis) / count.clamp(min=1)
        losses.append(_mean_where(count > 0, each))
    return (losses[0] + losses[1]) / 2


def patch_loss(scores: Tensor, glimpsed: Tensor, *, scale: float) -> Tensor:
    """Ask that each patch be nearest to some name of what is in view.

    Args:
        scores: (B, N, P) cosines of patches and names.
        glimpsed: (B, P) 1 where a name is in view, be it a little.
        scale: factor on the cosines.
    """
    shares = (scale * scores).log_softmax(-1)
    hidden = (1 - glimpsed[:, None]) * -1e4
    return -torch.logsumexp(shares + hidden, -1).mean()


def helper_loss(scores: Tensor, facts: Tensor) -> Tensor:
    """Cross entropy with the things, the colours and the stuff that are in view.

    Args:
        scores: (B, 20 + 10 + 8) of the helper heads.
        facts: (B, A) 1 where an atom is true.
    """
    num_pairs = len(THINGS) * len(COLOURS)
    pairs = facts[:, :num_pairs].unflatten(1, (len(THINGS), len(COLOURS)))
    groups = (pairs.amax(2), pairs.amax(1), facts[:, num_pairs : num_pairs + len(STUFF)])
    loss = scores.new_zeros(())
    parts = scores.split([group.shape[1] for group in groups], dim=1)
    for score, present in zip(parts, groups, strict=True):
        count = present.sum(1)
        each = -(present * score.log_softmax(1)).sum(1) / count.clamp(min=1)
        loss = loss + _mean_where(count > 0, each)
    return loss


def _mean_where(chosen: Tensor, values: Tensor) -> Tensor:
    """Mean of the chosen values, 0 if none is; without asking the device for their number."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
