"""Global Learning Module (section 3.2): a picture's CLS token against its pooled features.

Eq. 3 contrasts the pool (``pooling.py``) with CLS tokens of this and earlier iterations. As
printed, it lacks the -log and misplaces a bracket; this is InfoNCE.

Letters: B anchors, C channels, h x w student grid, M candidates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.errors import UserError, check_choice

from .pooling import POOLS, pool_dense

NEGATIVES = ("pool", "bank_and_batch", "bank_only", "batch_only")
REDUCTIONS = ("mean", "sum")
KEY = "MODEL.CLIPTEACHER.GLM"


def contrast_logits(
    pooled: Tensor, current: Tensor, older: Tensor, *, offset: int, own_only: bool
) -> Tensor:
    """Similarities of every anchor with its own CLS token and with its negatives.

    Args:
        pooled: (B, C) anchors.
        current: (M', C) CLS tokens of the global batch; anchor i's own is row ``offset + i``.
        older: (M, C) CLS tokens of earlier iterations, all negatives.
        offset: first row of the anchors in ``current``.
        own_only: whether the other rows of ``current`` are left out.

    Returns:
        (B, 1 + negatives), the own token first.
    """
    rows = torch.arange(len(pooled), device=pooled.device)
    near = pooled @ current.T
    own = near[rows, offset + rows][:, None]
    far = pooled @ older.T
    if own_only:
        return torch.cat([own, far], dim=1)
    others = torch.ones_like(near, dtype=torch.bool)
    others[rows, offset + rows] = False
    return torch.cat([own, near[others].view(len(pooled), -1), far], dim=1)


class StepTokens(NamedTuple):
    """CLS tokens of a step, seen from some of its pictures.

    Attributes:
        block: (M', C) tokens of all pictures, without gradients.
        start: place of the first of those pictures.
    """

    block: Tensor
    start: int


class GlobalLearning(nn.Module):
    """Contrast the pooled student features with a bank of CLS tokens (eq. 1-3).

    The bank holds the CLS tokens of the last iterations, one block per iteration, newest first; a
    block is that of all pictures of a step in order of draws, so all processes hold the same bank.

    Args:
        pool: ``attention``, ``max`` or ``mean`` (Table 4).
        tau: temperature of eq. 3.
        bank_size: n, iterations that the bank remembers.
        normalize: compare unit vectors.
        unit_query: make the CLS token unit length in the attention.
        negatives: ``pool`` (this batch and n - 1 older ones), ``bank_and_batch`` (this batch and n
            older ones), ``bank_only`` (n older ones) or ``batch_only``.
        reduction: ``mean`` over anchors, or ``sum`` as printed.
        gather: contrast with all pictures of a step; else with those at the anchors' places.
    """

    def __init__(
        self,
        *,
        pool: str = "attention",
        tau: float = 0.07,
        bank_size: int = 24,
        normalize: bool = True,
        unit_query: bool = False,
        negatives: str = "pool",
        reduction: str = "mean",
        gather: bool = True,
    ) -> None:
        super().__init__()
        check_choice(f"{KEY}.POOL", pool, POOLS)
        check_choice(f"{KEY}.NEGATIVES", negatives, NEGATIVES)
        check_choice(f"{KEY}.REDUCTION", reduction, REDUCTIONS)
        if tau <= 0 or bank_size < 1:
            raise UserError(f"{KEY}: TAU {tau} must be above 0 and BANK_SIZE {bank_size} above 0")
        self.pool, self.tau, self.bank_size = pool, tau, bank_size
        self.normalize, self.unit_query = normalize, unit_query
        self.negatives, self.reduction, self.gather = negatives, reduction, gather
        self.bank: deque[Tensor] = deque(maxlen=bank_size)

    def forward(
        self,
        dense: Tensor,
        cls: Tensor,
        *,
        valid: Tensor | None = None,
        step: StepTokens | None = None,
    ) -> Tensor:
        """Loss of some anchors.

        Args:
            dense: (B, C, h, w) student features.
            cls: (B, C) CLS tokens of the frozen teacher.
            valid: (B, h, w) bool, False on padding.
            step: CLS tokens of the step that the anchors are a part of, whose end ``remember``
                tells; None if they are all: in training the bank then holds them.

        Returns:
            Scalar.
        """
        per_anchor = self.per_anchor(dense, cls, valid=valid, step=step)
        return per_anchor.mean() if self.reduction == "mean" else per_anchor.sum()

    def per_anchor(
        self,
        dense: Tensor,
        cls: Tensor,
        *,
        valid: Tensor | None = None,
        step: StepTokens | None = None,
    ) -> Tensor:
        """(B,) losses; arguments as ``forward``."""
        logits = self.logits(dense, cls, valid=valid, step=step)
        return F.cross_entropy(logits, logits.new_zeros(len(logits)).long(), reduction="none")

    def logits(
        self,
        dense: Tensor,
        cls: Tensor,
        *,
        valid: Tensor | None = None,
        step: StepTokens | None = None,
    ) -> Tensor:
        """(B, 1 + negatives) similarities over ``tau``, own token first; see ``forward``."""
        pooled = pool_dense(dense, cls, self.pool, valid=valid, unit_query=self.unit_query)
        block, start = (cls.detach(), 0) if step is None else (step.block, step.start)
        rows = slice(None) if self.gather else slice(start, start + len(cls))
        older = self._older(block, rows)
        if step is None:
            self.remember(block)
        block = block[rows]
        if self.normalize:
            pooled, block, older = (
                F.normalize(t, dim=-1, eps=1e-12) for t in (pooled, block, older)
            )
        own_only = self.negatives == "bank_only"
        offset = start if self.gather else 0
        return contrast_logits(pooled, block, older, offset=offset, own_only=own_only) / self.tau

    def remember(self, block: Tensor) -> None:
        """Put the CLS tokens (M', C) of a step into the bank, in training."""
        if self.training and self.negatives != "batch_only":
            self.bank.appendleft(block)

    def run_state(self) -> dict[str, list[Tensor]]:
        """What an exact resume needs: the bank, newest block first."""
        return {"bank": [block.cpu() for block in self.bank]}

    def load_run_state(self, state: Mapping[str, Any]) -> None:
        """Restore the bank of ``run_state``."""
        self.bank = deque(state["bank"], maxlen=self.bank_size)

    def _older(self, block: Tensor, rows: slice) -> Tensor:
        count = {"pool": self.bank_size - 1, "batch_only": 0}.get(self.negatives, self.bank_size)
        blocks = list(self.bank)[:count]
        return torch.cat([b.to(block)[rows] for b in blocks]) if blocks else block[:0]
