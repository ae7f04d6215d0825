"""What is known of a picture before any word, and pictures of one size put together.

Letters: B pictures, N = h * w patches, L = 1 + N tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError
from ovs_core.modeling.scores import Size

from .attention import allowed_pairs
from .regions import Regions
from .tower import Dense
from .views import Frame


@dataclass(frozen=True)
class Encoded:
    """A picture before any word, brought to the tower by a view of the method's own.

    Attributes:
        dense: tokens and correlation, B = 1.
        frame: where the grid lies on the picture.
        picture: (3, H', W') RGB as it came in.
        regions: clusters and maps; None for methods without.
        given: (H, W) region numbers that a file holds in place of them, -1 for none.
        masks: what was made of the regions, by size of the labels: words do not change it.
    """

    dense: Dense
    frame: Frame
    picture: Tensor
    regions: Regions | None
    given: Tensor | None = None
    masks: dict[Size, Tensor] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class EncodedWindows:
    """A picture before any word, shown to the tower by ``MODEL.OVS.PROTOCOL``.

    Attributes:
        features: what the protocol encoded.
        picture: (3, H', W') normalised, where last steps need it; else None.
    """

    features: Any
    picture: Tensor | None = None


def same_label_pairs(inputs: Sequence[Mapping[str, Any]], grid: Size) -> Tensor:
    """Let patches attend only to patches of their true label (an ablation of Table 4).

    Args:
        inputs: B input dicts with ``sem_seg`` (H, W).
        grid: (h, w).

    Returns:
        (B, L, L) bool.

    Raises:
        UserError: if an input has no ``sem_seg``.
    """
    if any("sem_seg" not in one for one in inputs):
        raise UserError("MODEL.CLIPTRASE.SCR.GT_RESTRICTED needs 'sem_seg' in the input dict")
    truths = [torch.as_tensor(one["sem_seg"])[None, None].float() for one in inputs]
    cells = [F.interpolate(truth, size=grid, mode="nearest").flatten() for truth in truths]
    return allowed_pairs(torch.stack(cells).long())
