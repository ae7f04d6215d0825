"""What MAFT and its first stage share, and the first stage: a network that proposes masks.

Letters: B pictures, Q masks, K classes, S texts, E joint width, Hp x Wp padded size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ovs_core.modeling.global_batch import Facts, largest_size
from ovs_core.modeling.mask2former import (
    HeadOutput,
    MaskScores,
    MaskTargets,
    Prediction,
    SetCriterion,
    class_scores,
    read_targets,
)
from ovs_core.modeling.mask2former.query_segmenter import DIVISOR
from ovs_core.modeling.padding import stack_padded
from ovs_core.modeling.scores import Scores, Size, size_of
from ovs_core.modeling.segmenter import Segmenter, SegmenterArguments

from ..texts import TextRows
from .build import proposal_arguments
from .network import ProposalNetwork

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ProposalSegmenter(Segmenter):
    """A network proposes masks beside CLIP, and CLIP's words name them.

    Args:
        proposals: the network.
        segmenter: arguments of ``Segmenter``.
    """

    def __init__(
        self, *, proposals: ProposalNetwork, **segmenter: Unpack[SegmenterArguments]
    ) -> None:
        super().__init__(**segmenter)
        self.proposals = proposals
        self.text_rows = TextRows(self.clip.embed_dim)

    def rows(self) -> tuple[Tensor, tuple[int, ...]]:
        """Text rows (S + 1, E) of the current words, "nothing" last, and the class of each."""
        return self.text_rows(self.vocabulary, self.templates, self.text_embedder)

    def pad(
        self, pictures: Sequence[Tensor], size: Size, normalize: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Normalise pictures and put them top left into one zero tensor.

        Args:
            pictures: (3, h, w) RGB in 0..255 each.
            size: (H, W), no picture is larger.
            normalize: brings a picture to the statistics of whoever sees it.

        Returns:
            (B, 3, Hp, Wp), the sides rounded up to a multiple of 32.
        """
        return stack_padded(map(normalize, pictures), size, divisor=DIVISOR)

    def padded_size(self, batched_inputs: list[dict[str, Any]]) -> Size:
        """(H, W) that the pictures of training samples are padded to, before rounding up."""
        return largest_size(batched_inputs, self.part)

    def targets(self, batched_inputs: list[dict[str, Any]], size: Size) -> list[MaskTargets]:
        """Read the segments of training samples at the padded size."""
        return read_targets(
            batched_inputs, classes=len(self.vocabulary), size=size, device=self.device
        )

    def trained_scores(self, prediction: Prediction, rows: Tensor, index: Sequence[int]) -> Tensor:
        """Scores (B, Q, K + 1) of the network's own class embeddings, "nothing" last."""
        scale = self.proposals.decoder.logit_scale
        return class_scores(prediction.class_embedding, rows, index, scale)


@META_ARCH_REGISTRY.register()
class MAFTProposals(ProposalSegmenter):
    """MAFT's first stage: train the mask proposals, with CLIP frozen.

    Args:
        criterion: training losses.
        segmenter: arguments of ``ProposalSegmenter``.
    """

    keeps = ("proposals.",)  # frozen norms of the backbone too

    @configurable
    def __init__(self, *, criterion: SetCriterion, **segmenter: Any) -> None:
        super().__init__(**segmenter)
        self.criterion = criterion

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts, see ``build.py``."""
        return proposal_arguments(cfg)

    def facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """What the set criterion divides by."""
        queries = self.proposals.decoder.num_queries
        return [self.criterion.facts(len(one["instances"]), queries) for one in batched_inputs]

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Set criterion of every head."""
        pictures = [one["image"] for one in batched_inputs]
        size = self.padded_size(batched_inputs)
        images = self.pad(pictures, size, self.proposals.normalize)
        rows, index = self.rows()
        heads = [
            HeadOutput(self.trained_scores(head, rows, index), head.masks)
            for head in self.proposals(images, every_head=True)
        ]
        return self.criterion(heads, self.targets(batched_inputs, size_of(images)), self.part)

    def encoder_inputs(self, picture: Tensor) -> list[Tensor]:
        """The one padded picture that the backbone is shown."""
        return [self.pad([picture], size_of(picture), self.proposals.normalize)]

    def bare_forward(self, images: Tensor) -> dict[str, Tensor]:
        """Run the backbone alone."""
        features: dict[str, Tensor] = self.proposals.backbone(images)
        return features

    def encode_picture(self, picture: Tensor) -> tuple[Prediction, Size, Size]:
        """Propose masks of a (3, H', W') picture; and the padded and the unpadded size."""
        (images,) = self.encoder_inputs(picture)
        return self.proposals(images)[-1], size_of(images), size_of(picture)

    def score_picture(self, encoded: Any, size: Size) -> Scores:
        """Score the masks by the network's own class embeddings."""
        prediction, canvas, valid = encoded
        scores = self.trained_scores(prediction, *self.rows())[0]
        return MaskScores(scores, prediction.masks[0], canvas, valid, size, align_corners=True)
