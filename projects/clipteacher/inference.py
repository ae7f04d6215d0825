"""Test time (section 3.4): views that fit the student, words, and the bonus of unseen classes.

Letters: K classes, C channels, C' channels in front of the student's projection, h x w student
grid.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.errors import UserError
from ovs_core.modeling.protocols import InferenceProtocol, MultiScaleFlip, Slide, Whole

from .students.last_convolution import Projection


def fold_words(text: Tensor, projection: Projection) -> tuple[Tensor, Tensor | None]:
    """Make one convolution of the student's last one and the words: both are linear (eq. 9).

    Args:
        text: (K, C) text features.
        projection: 1 x 1 convolution from C' to C channels, or ``nn.Identity``.

    Returns:
        (K, C') weights, and (K,) bias or None.
    """
    if isinstance(projection, nn.Identity):
        return text, None
    weight, bias = projection.weight.flatten(1), projection.bias
    return text @ weight, None if bias is None else text @ bias


def class_logits(features: Tensor, text: Tensor, projection: Projection | None = None) -> Tensor:
    """Compare features with words; C channels are not made on the way (eq. 9).

    Args:
        features: (B, C', h, w) what ``projection`` gets; (B, C, h, w) without one.
        text: (K, C) text features.
        projection: the student's last convolution.

    Returns:
        (B, K, h, w).
    """
    weight, bias = fold_words(text, projection or nn.Identity())
    weight = weight.to(features.dtype)[:, :, None, None]
    return F.conv2d(features, weight, None if bias is None else bias.to(features.dtype))


def add_unseen_bonus(maps: Tensor, which: slice, unseen: Sequence[int], gamma: float) -> Tensor:
    """Raise the logits of unseen classes, which training never raised.

    Args:
        maps: (..., k, h, w) logits of the classes ``which``.
        which: range of classes.
        unseen: indices of the unseen classes among all.
        gamma: bonus.

    Returns:
        Maps of the same shape.
    """
    if not gamma or not len(unseen):
        return maps
    bonus = torch.zeros(which.stop, dtype=maps.dtype, device=maps.device)
    bonus[[index for index in unseen if index < which.stop]] = gamma
    return maps + bonus[which.start :, None, None]


def fit_protocol(protocol: InferenceProtocol, divisor: int) -> InferenceProtocol:
    """Make a protocol show only sides that the student takes.

    Args:
        protocol: as configured.
        divisor: of the student.

    Raises:
        UserError: if the window of a sliding protocol is no multiple of it.
    """
    if isinstance(protocol, MultiScaleFlip):
        return dataclasses.replace(protocol, base=_fit_view(protocol.base, divisor))
    return _fit_view(protocol, divisor) if isinstance(protocol, (Whole, Slide)) else protocol


def _fit_view(view: Whole | Slide, divisor: int) -> Whole | Slide:
    if isinstance(view, Whole):
        return dataclasses.replace(view, divisor=math.lcm(view.divisor, divisor))
    if view.window % divisor:
        raise UserError(
            f"MODEL.OVS.PROTOCOL.WINDOW {view.window} is no multiple of the {divisor} pixels "
            "that the student needs"
        )
    return view
