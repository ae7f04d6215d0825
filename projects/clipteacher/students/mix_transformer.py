"""SegFormer's encoder from ``transformers``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ovs_core.errors import UserError
from ovs_core.load_report import LoadReport
from ovs_core.modeling.checkpoint import read_checkpoint

from .published import IMAGENET, MEND, OWNER, encoder_tensors, hub_folder, hub_names, unreachable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, SegformerConfig

MIT_DEPTHS = {
    "b0": (2, 2, 2, 2),
    "b1": (2, 2, 2, 2),
    "b2": (3, 4, 6, 3),
    "b3": (3, 4, 18, 3),
    "b4": (3, 8, 27, 3),
    "b5": (3, 6, 40, 3),
}


class MixTransformer(nn.Module):
    """SegFormer's encoder.

    Args:
        variant: ``b0`` to ``b5``.
        weights: ``imagenet`` for NVIDIA's published weights (research-only licence); a local folder
            in the hub's form; a local file in the hub's or in mmsegmentation's form; or empty for
            random ones.
        drop_path: stochastic depth.

    Raises:
        UserError: if ``transformers`` is not installed, or the weights cannot be read or are those
            of another variant.
    """

    def __init__(self, variant: str, *, weights: str = "", drop_path: float = 0.1) -> None:
        super().__init__()
        try:
            from transformers import SegformerConfig, SegformerModel
        except ImportError as error:
            raise UserError(
                "the SegFormer students need transformers; pip install -e '.[students]'"
            ) from error
        first = 32 if variant == "b0" else 64
        config = SegformerConfig(
            depths=list(MIT_DEPTHS[variant]),
            hidden_sizes=[first, 2 * first, 5 * first, 8 * first],
            drop_path_rate=drop_path,
        )
        self.channels = tuple(config.hidden_sizes)
        if not weights:
            self.model = SegformerModel(config)
        elif Path(weights).is_file():
            tensors = hub_names(encoder_tensors(read_checkpoint(weights), weights))
            self.model = _pretrained(SegformerModel, None, weights, config, state_dict=tensors)
        else:
            name = hub_folder(f"nvidia/mit-{variant}") if weights == IMAGENET else weights
            self.model = _pretrained(SegformerModel, name, name, config)

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """(B, 3, H, W) -> four maps."""
        return self.model(images, output_hidden_states=True).hidden_states


def _pretrained(
    kind: type[PreTrainedModel],
    name: str | None,
    source: str,
    config: SegformerConfig,
    **options: Any,
) -> PreTrainedModel:
    try:
        model, found = kind.from_pretrained(
            name, config=config, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )
    except OSError as error:
        raise unreachable(source, error) from error
    missing, other = set(found["missing_keys"]), sorted(found["mismatched_keys"])
    report = LoadReport(
        used=tuple(model.state_dict().keys() - missing - {name for name, *_ in other}),
        missing=tuple(sorted(missing)),
        unexpected=tuple(sorted(found["unexpected_keys"])),
        shapes=tuple(f"{name} {tuple(a)} instead of {tuple(b)}" for name, a, b in other),
    )
    if report.missing or report.shapes:
        raise report.refusal(source, OWNER, MEND)
    return model
