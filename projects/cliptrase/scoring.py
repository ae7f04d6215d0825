"""Comparing patches with words: the rules of the different methods.

Each rule maps tokens and unit text vectors to logits per patch. Letters: B pictures, L = 1 + N
tokens (CLS first), N = h * w patches, K words, D joint width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .tower import Dense

# A class that MaskCLIP's prompt denoising takes out gets this score everywhere.
REMOVED = -100.0


@dataclass(frozen=True)
class CosineScorer:
    """Scaled inner products, the rule of most methods.

    Attributes:
        scale: factor on the cosines.
        normalize: whether tokens are brought to unit length.
        cls_product: whether each class map is multiplied by the picture's own logit of that class.
    """

    scale: float
    normalize: bool = True
    cls_product: bool = False

    def __call__(self, dense: Dense, text: Tensor) -> Tensor:
        """Score (B, K, h, w) from tokens and (K, D) text."""
        tokens = F.normalize(dense.tokens, dim=-1) if self.normalize else dense.tokens
        logits = tokens @ (text.T * self.scale)
        patches = logits[:, 1:] if dense.has_cls else logits
        if self.cls_product:
            patches = patches * logits[:, :1]
        return patches.transpose(1, 2).unflatten(2, dense.grid)


@dataclass(frozen=True)
class MaskClipScorer:
    """Cosines with MaskCLIP's two refinements.

    Attributes:
        prompt_threshold: a class whose best probability over the picture is below this is taken
            out; 0 for off.
        key_threshold: a patch whose best probability is below this takes the probabilities of
            patches with similar keys; 0 for off.
        unit_keys: whether keys are brought to unit length per patch. The released code divides by
            the norm over patches instead, channel by channel.
        scale: factor on the cosines inside the probabilities.
    """

    prompt_threshold: float = 0.0
    key_threshold: float = 0.0
    unit_keys: bool = True
    scale: float = 100.0

    def __call__(self, dense: Dense, text: Tensor) -> Tensor:
        """Score (B, K, h, w): cosines, or probabilities if keys smooth them."""
        scores = F.normalize(dense.patches, dim=-1) @ text.T  # (B, N, K)
        if self.prompt_threshold > 0:
            best = torch.softmax(scores * self.scale, dim=-1).amax(dim=1, keepdim=True)
            scores = scores.masked_fill(best < self.prompt_threshold, REMOVED)
        if self.key_threshold > 0:
            if dense.keys is None:
                raise ValueError("key smoothing needs a tower that gives keys")
            scores = self._smooth(torch.softmax(scores * self.scale, dim=-1), dense.keys)
        return scores.transpose(1, 2).unflatten(2, dense.grid)

    def _smooth(self, probabilities: Tensor, keys: Tensor) -> Tensor:
        keys = F.normalize(keys, dim=-1 if self.unit_keys else 1)
        smoothed = keys @ (keys.transpose(1, 2) @ probabilities)
        unsure = probabilities.amax(dim=-1, keepdim=True) < self.key_threshold
        return torch.where(unsure, smoothed, probabilities)
