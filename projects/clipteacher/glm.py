"""Global Learning Module (section 3.2): a picture's CLS token against its pooled features.

Eq. 3 contrasts the pool (``pooling.py``) with CLS tokens of this and earlier iterations. As
printed, it lacks the -log and misplaces a bracket; this is InfoNCE.

Letters: B pictures of this process, C channels, h x w student grid, M candidates.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.errors import UserError, check_choice

from .pooling import POOLS, pool_dense

logger = logging.getLogger(__name__)

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
        offset: first row of this process in ``current``.
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


class GlobalLearning(nn.Module):
    """Contrast the pooled student features with a bank of CLS tokens (eq. 1-3).

    The bank holds the CLS tokens of the last iterations, one block per iteration, newest first; a
    block is the global batch in rank order, so all processes hold the same bank.

    Args:
        pool: ``attention``, ``max`` or ``mean`` (Table 4).
        tau: temperature of eq. 3.
        bank_size: n, iterations that the bank remembers.
        normalize: compare unit vectors.
        unit_query: make the CLS token unit length in the attention.
        negatives: ``pool`` (this batch and n - 1 older ones), ``bank_and_batch`` (this batch and n
            older ones), ``bank_only`` (n older ones) or ``batch_only``.
        reduction: ``mean`` over anchors, or ``sum`` as printed.
        gather: share CLS tokens between processes; else each has a bank of its own.
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

    def forward(self, dense: Tensor, cls: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """Loss of this process's anchors; in training the bank then holds this batch.

        Args:
            dense: (B, C, h, w) student features.
            cls: (B, C) CLS tokens of the frozen teacher.
            valid: (B, h, w) bool, False on padding.

        Returns:
            Scalar.
        """
        per_anchor = self.per_anchor(dense, cls, valid=valid)
        return per_anchor.mean() if self.reduction == "mean" else per_anchor.sum()

    def per_anchor(self, dense: Tensor, cls: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """(B,) losses; arguments as ``forward``."""
        logits = self.logits(dense, cls, valid=valid)
        return F.cross_entropy(logits, logits.new_zeros(len(logits)).long(), reduction="none")

    def logits(self, dense: Tensor, cls: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """(B, 1 + negatives) similarities over ``tau``, own token first; pushes in training."""
        pooled = pool_dense(dense, cls, self.pool, valid=valid, unit_query=self.unit_query)
        block, offset = self._global_block(cls.detach())
        older = self._older(block)
        if self.training and self.negatives != "batch_only":
            self.bank.appendleft(block)
        if self.normalize:
            pooled, block, older = (
                F.normalize(t, dim=-1, eps=1e-12) for t in (pooled, block, older)
            )
        own_only = self.negatives == "bank_only"
        return contrast_logits(pooled, block, older, offset=offset, own_only=own_only) / self.tau

    def run_state(self) -> dict[str, list[Tensor]]:
        """What an exact resume needs: the bank, newest block first."""
        return {"bank": [block.cpu() for block in self.bank]}

    def load_run_state(self, state: Mapping[str, Any]) -> None:
        """Restore the bank of ``run_state``."""
        if not self.gather and _rank():
            logger.warning(
                "%s.GATHER False: a checkpoint holds the bank of process 0 only; this one starts "
                "with an empty bank",
                KEY,
            )
            return
        self.bank = deque(state["bank"], maxlen=self.bank_size)

    def _older(self, block: Tensor) -> Tensor:
        count = {"pool": self.bank_size - 1, "batch_only": 0}.get(self.negatives, self.bank_size)
        blocks = list(self.bank)[:count]
        return torch.cat([b.to(block) for b in blocks]) if blocks else block[:0]

    def _global_block(self, cls: Tensor) -> tuple[Tensor, int]:
        """CLS tokens of all processes in rank order, and the first row of this one."""
        if not (self.gather and dist.is_available() and dist.is_initialized()):
            return cls, 0
        parts = [torch.empty_like(cls) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, cls.contiguous())
        return torch.cat(parts), dist.get_rank() * len(cls)


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
