"""Published encoders from libraries, as modules that give four maps at strides 4, 8, 16, 32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import timm
from torch import Tensor, nn

from ovs_core.engine.checkpoint import read_checkpoint
from ovs_core.errors import UserError

IMAGENET = "imagenet"
MIT_DEPTHS = {
    "b0": (2, 2, 2, 2),
    "b1": (2, 2, 2, 2),
    "b2": (3, 4, 6, 3),
    "b3": (3, 4, 18, 3),
    "b4": (3, 8, 27, 3),
    "b5": (3, 6, 40, 3),
}


class MixTransformer(nn.Module):
    """SegFormer's encoder from ``transformers``.

    Args:
        variant: ``b0`` to ``b5``.
        weights: ``imagenet`` for NVIDIA's published weights (research-only licence), a local folder
            in the same form, or empty for random ones.
        drop_path: stochastic depth.

    Raises:
        UserError: if ``transformers`` is not installed or the weights cannot be read.
    """

    def __init__(self, variant: str, *, weights: str = "", drop_path: float = 0.1) -> None:
        super().__init__()
        try:
            from transformers import SegformerConfig, SegformerModel
        except ImportError as error:
            raise UserError(
                "the SegFormer students need transformers; pip install 'ovsuite[students]'"
            ) from error
        if weights:
            name = f"nvidia/mit-{variant}" if weights == IMAGENET else weights
            self.model = _pretrained(SegformerModel, name, drop_path)
        else:
            first = 32 if variant == "b0" else 64
            self.model = SegformerModel(
                SegformerConfig(
                    depths=list(MIT_DEPTHS[variant]),
                    hidden_sizes=[first, 2 * first, 5 * first, 8 * first],
                    drop_path_rate=drop_path,
                )
            )
        self.channels = tuple(self.model.config.hidden_sizes)

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """(B, 3, H, W) -> four maps."""
        return self.model(images, output_hidden_states=True).hidden_states


class TimmPyramid(nn.Module):
    """An encoder of ``timm`` that offers feature maps.

    Args:
        name: timm model, such as ``convnext_base.fb_in1k``.
        weights: ``imagenet`` for the weights that the name stands for, a local file, or empty.
        drop_path: stochastic depth.
        stage_norms: whether every map gets a layer norm of its own, as mmsegmentation has it.
        channels_last: whether the model gives (B, h, w, C), as timm's Swin does.
        options: further arguments of the timm model.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str = "",
        drop_path: float = 0.1,
        stage_norms: bool = False,
        channels_last: bool = False,
        options: dict | None = None,
    ) -> None:
        super().__init__()
        self.model = timm.create_model(
            name,
            pretrained=weights == IMAGENET,
            features_only=True,
            drop_path_rate=drop_path,
            **(options or {}),
        )
        if weights and weights != IMAGENET:
            load_encoder(self.model, weights)
        self.channels = tuple(self.model.feature_info.channels())
        norms = [nn.LayerNorm(dim) for dim in self.channels] if stage_norms else []
        self.norms = nn.ModuleList(norms)
        self.channels_last = channels_last

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> four maps."""
        maps = [
            one if self.channels_last else one.permute(0, 2, 3, 1) for one in self.model(images)
        ]
        if self.norms:
            maps = [norm(one) for norm, one in zip(self.norms, maps, strict=True)]
        return [one.permute(0, 3, 1, 2) for one in maps]


def load_encoder(module: nn.Module, path: str | Path) -> None:
    """Load an encoder's file; what belongs to a classifier on top of it is left out.

    Args:
        module: the encoder.
        path: ``.safetensors``, or a ``.pth`` state dict, maybe under ``state_dict`` or ``model``.

    Raises:
        UserError: if less than all of the encoder's tensors are found.
    """
    data = read_checkpoint(path)
    tensors = data.get("state_dict", data.get("model", data))
    tensors = {k.removeprefix("backbone."): v for k, v in tensors.items()}
    # timm names a stage "stages.0" in the model and "stages_0" where only features are taken.
    tensors |= {_flat_stage(name): value for name, value in tensors.items()}
    wanted = module.state_dict()
    fits = {k: v for k, v in tensors.items() if k in wanted and v.shape == wanted[k].shape}
    missing = [k for k in wanted if k not in fits and not k.endswith("num_batches_tracked")]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(wanted)} tensors of the encoder are not in it or have "
            f"another shape, first {missing[0]}; check MODEL.CLIPTEACHER.STUDENT.NAME and WEIGHTS"
        )
    module.load_state_dict(fits, strict=False)


def _flat_stage(name: str) -> str:
    for part in ("stages.", "layers.", "stem."):
        if name.startswith(part):
            return part[:-1] + "_" + name[len(part) :]
    return name


def _pretrained(kind: type, name: str, drop_path: float) -> nn.Module:
    try:
        return kind.from_pretrained(name, drop_path_rate=drop_path)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"MODEL.CLIPTEACHER.STUDENT.WEIGHTS: cannot read '{name}' ({reason});"
            " give a local folder, or '' for random weights"
        ) from error
