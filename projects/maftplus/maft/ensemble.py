"""Joining the proposal network's classification of a mask with IP-CLIP's.

Letters: B pictures, Q masks, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ovs_core.tensor.placing import place


def ensemble_weights(
    network: Tensor, own: Tensor, reached: Tensor, trained: Sequence[bool], *, weight: float
) -> Tensor:
    """Blend both geometrically: ``p^w q^(1-w)`` on trained classes, ``p^(1-w) q^w`` on others.

    Args:
        network: (B, Q, K + 1) scores of the proposal network, "nothing" last, which takes part in
            its probabilities p.
        own: (B, Q, K + 1) scores of IP-CLIP; "nothing" takes no part in its probabilities q.
        reached: (B, Q) masks that are sure of a pixel; for others q is 1.
        trained: for each of the K classes whether it was trained on.
        weight: w.

    Returns:
        (B, Q, K); they need not add up to 1.
    """
    p = network.softmax(-1)[..., :-1]
    q = torch.where(reached[..., None], own[..., :-1].softmax(-1), 1.0)
    flags = place(trained, p.device)
    share = torch.where(flags, weight, 1 - weight).to(p.dtype)
    return p**share * q ** (1 - share)
