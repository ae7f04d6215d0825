"""SegFormer's encoder from ``transformers``, and the layouts in which its weights are published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ovs_core.engine.checkpoint import read_checkpoint
from ovs_core.errors import UserError

IMAGENET = "imagenet"
KEY = "MODEL.CLIPTEACHER.STUDENT.WEIGHTS"
MIT_DEPTHS = {
    "b0": (2, 2, 2, 2),
    "b1": (2, 2, 2, 2),
    "b2": (3, 4, 6, 3),
    "b3": (3, 4, 18, 3),
    "b4": (3, 8, 27, 3),
    "b5": (3, 6, 40, 3),
}
# mmsegmentation's names -> those of the files on the hub; transformers takes these in any version
MMSEG_NAMES = (
    (r"^layers\.(\d)\.0\.projection\.", r"encoder.patch_embeddings.\1.proj."),
    (r"^layers\.(\d)\.0\.norm\.", r"encoder.patch_embeddings.\1.layer_norm."),
    (r"^layers\.(\d)\.2\.", r"encoder.layer_norm.\1."),
    (r"^layers\.(\d)\.1\.(\d+)\.", r"encoder.block.\1.\2."),
    (r"\.norm([12])\.", r".layer_norm_\1."),
    (r"\.attn\.attn\.out_proj\.", ".attention.output.dense."),
    (r"\.attn\.sr\.", ".attention.self.sr."),
    (r"\.attn\.norm\.", ".attention.self.layer_norm."),
    (r"\.ffn\.layers\.0\.", ".mlp.dense1."),
    (r"\.ffn\.layers\.1\.", ".mlp.dwconv.dwconv."),
    (r"\.ffn\.layers\.4\.", ".mlp.dense2."),
)


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
            tensors = hub_names(read_checkpoint(weights))
            self.model = _pretrained(SegformerModel, None, weights, config, state_dict=tensors)
        else:
            name = f"nvidia/mit-{variant}" if weights == IMAGENET else weights
            self.model = _pretrained(SegformerModel, name, name, config)

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """(B, 3, H, W) -> four maps."""
        return self.model(images, output_hidden_states=True).hidden_states


def unreachable(source: str, error: Exception) -> UserError:
    """Word the failure to read or fetch weights."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(
        f"{KEY}: cannot read '{source}' ({reason}); give a local file or folder, or '' for random "
        "weights"
    )


def hub_names(data: dict[str, Any]) -> dict[str, Tensor]:
    """Bring a file's tensors to the names of the hub.

    Args:
        data: a state dict, maybe under ``state_dict`` or ``model``, in the hub's names or in those
            of mmsegmentation, whose attention keeps query, key and value in one matrix.

    Returns:
        Name -> tensor.
    """
    tensors = data.get("state_dict", data.get("model", data))
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("backbone.")
        for pattern, new in MMSEG_NAMES:
            name = re.sub(pattern, new, name)
        stem, joint, kind = name.partition(".attn.attn.in_proj_")
        if not joint:
            renamed[name] = tensor
            continue
        for part, values in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            renamed[f"{stem}.attention.self.{part}.{kind}"] = values
    return {k: _flat(v) if ".mlp.dense" in k else v for k, v in renamed.items()}


def _flat(weight: Tensor) -> Tensor:
    """Make a matrix of a 1 x 1 convolution."""
    return weight.flatten(1) if weight.ndim == 4 else weight


def _pretrained(
    kind: type, name: str | None, source: str, config: Any, **options: Any
) -> nn.Module:
    try:
        model, report = kind.from_pretrained(
            name, config=config, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )
    except OSError as error:
        raise unreachable(source, error) from error
    wrong = [*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])]
    if wrong:
        raise UserError(
            f"{KEY}: '{source}' lacks {len(wrong)} tensors of this encoder or has them in another "
            f"shape, first {wrong[0]}; it is of another variant than MODEL.CLIPTEACHER.STUDENT.NAME"
        )
    return model
