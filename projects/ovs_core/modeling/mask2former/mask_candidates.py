"""The best class of each pixel, without the scores of classes that cannot win among these pixels.

A pixel's score of a class is a sum over masks: what the mask counts for the class times how far it
covers the pixel. Among neighbouring pixels every mask stays between its smallest and its largest
value. That bounds a class by itself, and also how far it can be ahead of another class, which is
sharper where many classes are alike. Classes whose bounds stay below the scores that some promising
classes really have are not computed.

Letters: Q masks, K classes, P neighbouring pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

FEW = 16  # promising classes that are computed first


def best_classes(soft: Tensor, weights: Tensor) -> Tensor:
    """Find the class with the largest score, the lowest of equals.

    Args:
        soft: (Q, P) how far masks cover pixels, 0..1.
        weights: (Q, K) what a mask counts for each class, K above ``FEW``.

    Returns:
        (P,) int64.
    """
    pixels = soft.t()
    low, high = soft.amin(1), soft.amax(1)  # several times faster than both at once
    bound = high @ weights.clamp(min=0) + low @ weights.clamp(max=0)
    few = bound.topk(FEW).indices.sort().values
    scores = pixels @ weights[:, few]
    values = scores.amax(1)
    rival = int(bound.argmax())
    ahead = weights - weights[:, rival, None]
    lead = high @ ahead.clamp(min=0) + low @ ahead.clamp(max=0)
    behind = (values - pixels @ weights[:, rival]).amin()
    # Sums of Q products are computed to Q roundings each; twice that, and room to spare.
    error = 4 * len(soft) * torch.finfo(torch.float32).eps * (high @ weights.abs().amax(1))
    # Said in this way, what is not finite stays.
    out = (bound < values.amin() - error) | (lead < behind - error)
    out[few] = False
    names = (~out).nonzero()[:, 0]
    if len(names) > len(few):
        scores = pixels @ weights[:, names]
    return names[best_column(scores)]


def best_column(rows: Tensor) -> Tensor:
    """Index of the largest value of each row, the first of equals: (n, K) -> (n,).

    On a CPU NumPy does it: its argmax is vectorised, PyTorch's is not (5 times slower at K = 847).
    """
    if rows.device.type == "cpu" and rows.dtype == torch.float32:
        return torch.from_numpy(rows.detach().numpy().argmax(axis=1))
    return rows.argmax(dim=1)
