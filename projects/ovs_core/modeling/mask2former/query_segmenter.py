"""Methods that answer with Q masks of the whole picture, trained by the set criterion.

Letters: B pictures, Q masks, Hp x Wp padded size.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from ...errors import UserError
from ...files.digests import file_digest
from ..global_batch import Facts, largest_size
from ..padding import stack_padded
from ..protocols import Whole
from ..scores import Size, size_of
from ..segmenter import Segmenter, SegmenterArguments
from .criterion import SetCriterion
from .query_init import QueryInit
from .targets import MaskTargets, read_targets

if TYPE_CHECKING:
    from typing_extensions import Unpack

DIVISOR = 32

logger = logging.getLogger(__name__)


def whole_picture(segmenter: SegmenterArguments, divisor: int = DIVISOR) -> SegmenterArguments:
    """Let a method see whole pictures, padded to a multiple of a side.

    Args:
        segmenter: what the config asks for.
        divisor: of the padded sides.

    Raises:
        UserError: if the config asks for windows, scales or flips.
    """
    if not isinstance(segmenter.get("protocol"), Whole):
        raise UserError(
            "MODEL.OVS.PROTOCOL: mask-based methods look at the whole picture; set NAME to "
            "whole, SCALES to [1.0] and FLIP to False"
        )
    return {**segmenter, "protocol": Whole(divisor=divisor)}


class QuerySegmenter(Segmenter):
    """A segmenter whose queries find masks.

    Args:
        criterion: training losses.
        divisor: padded sides are multiples of it.
        query_init: what the queries of a training begin from; None for random ones.
        segmenter: arguments of ``Segmenter``.
    """

    published_whole = True

    def __init__(
        self,
        *,
        criterion: SetCriterion,
        divisor: int = DIVISOR,
        query_init: QueryInit | None = None,
        **segmenter: Unpack[SegmenterArguments],
    ) -> None:
        super().__init__(**segmenter)
        self.criterion = criterion
        self.divisor = divisor
        self.query_init = query_init
        self._queries_from = ""

    @property
    @abstractmethod
    def num_queries(self) -> int:
        """Q."""

    @property
    @abstractmethod
    def queries(self) -> Tensor:
        """(Q, D) or (1, Q, D) that a training may begin from a file: what they look for."""

    def begin_training(self) -> None:
        """Take the queries of ``query_init``."""
        if self.query_init is not None and self.query_init.path:
            path, queries = self.query_init.path, self.queries
            with torch.no_grad():
                queries.copy_(self.query_init.read(queries.shape))
            self._queries_from = file_digest(path)
            logger.info("queries begin as in %s (%s)", path, self._queries_from)

    def run_state(self) -> dict[str, Any]:
        """The hash of the file that the queries began from, if there was one."""
        return {"query_init": self._queries_from} if self._queries_from else {}

    def load_run_state(self, state: Mapping[str, Any]) -> None:
        """Restore ``run_state``."""
        self._queries_from = state.get("query_init", "")

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; CLIP always stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def pad(self, pictures: Sequence[Tensor], size: Size) -> Tensor:
        """Normalise pictures and put them top left into one zero tensor.

        Args:
            pictures: (3, h, w) RGB in 0..255 each.
            size: (H, W), no picture is larger.

        Returns:
            (B, 3, Hp, Wp), the sides rounded up to a multiple of ``divisor``.
        """
        return stack_padded(map(self.normalize, pictures), size, divisor=self.divisor)

    def open_pad(self, pictures: Tensor) -> Tensor:
        """``pad`` of (B, 3, h, w) pictures of one size, whose sides may be symbols."""
        height, width = size_of(pictures)
        padding = (0, -width % self.divisor, 0, -height % self.divisor)
        return F.pad(self.normalize(pictures), padding)

    def batch(self, batched_inputs: list[dict[str, Any]]) -> Tensor:
        """Give the padded pictures of training samples."""
        size = largest_size(batched_inputs, self.part)
        return self.pad([one["image"] for one in batched_inputs], size)

    def facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """What the set criterion divides by."""
        queries = self.num_queries
        return [self.criterion.facts(len(one["instances"]), queries) for one in batched_inputs]

    def targets(
        self, batched_inputs: Sequence[dict[str, Any]], images: Tensor
    ) -> list[MaskTargets]:
        """Read the segments of a batch."""
        return read_targets(
            batched_inputs,
            classes=len(self.vocabulary),
            size=size_of(images),
            device=images.device,
        )
