"""Published weights of encoders: where they are, and their names brought to the encoders' own."""

from __future__ import annotations

import re
import sys
from typing import Any

import timm
import torch
from torch import Tensor, nn

from ovs_core.errors import UserError

from .registry import KEY

IMAGENET = "imagenet"  # stands for the weights that are published under a student's name
Tensors = dict[str, Tensor]
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


def unreachable(source: str, error: Exception) -> UserError:
    """Word the failure to read or fetch weights."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(
        f"{KEY}.WEIGHTS: cannot read '{source}' ({reason}); give a local file or folder, or '' for "
        "random weights"
    )


def download(url: str) -> dict[str, Any]:
    """Fetch a file of weights, or take it from torch's cache.

    Raises:
        UserError: if it cannot be fetched.
    """
    try:
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except OSError as error:
        raise unreachable(url, error) from error


def encoder_tensors(data: dict[str, Any]) -> Tensors:
    """Take the tensors out of a file's content: maybe under ``state_dict`` or ``model``."""
    tensors = data.get("state_dict", data.get("model", data))
    return {name.removeprefix("backbone."): value for name, value in tensors.items()}


def load_encoder(module: nn.Module, tensors: Tensors, source: str) -> None:
    """Fill an encoder; what belongs to a classifier on top of it is left out.

    Args:
        module: the encoder.
        tensors: in the encoder's names.
        source: where they come from, for messages.

    Raises:
        UserError: if less than all of the encoder's tensors are found.
    """
    wanted = module.state_dict()
    fits = {k: v for k, v in tensors.items() if k in wanted and v.shape == wanted[k].shape}
    missing = [k for k in wanted if k not in fits and not k.endswith("num_batches_tracked")]
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of {len(wanted)} tensors of the encoder are not in it or "
            f"have another shape, first {missing[0]}; check MODEL.CLIPTEACHER.STUDENT.NAME and "
            "WEIGHTS"
        )
    module.load_state_dict(fits, strict=False)


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


def timm_names(tensors: Tensors, name: str, options: dict[str, Any]) -> Tensors:
    """Rename tensors of a model's authors as timm does, then as it does for features alone.

    Args:
        tensors: in the authors' names or in timm's.
        name: timm model.
        options: further arguments of the timm model.
    """
    whole = timm.create_model(name, **options)
    convert = sys.modules[type(whole).__module__].checkpoint_filter_fn
    return {_flat_stage(key): value for key, value in convert(tensors, whole).items()}


def _flat(weight: Tensor) -> Tensor:
    """Make a matrix of a 1 x 1 convolution."""
    return weight.flatten(1) if weight.ndim == 4 else weight


def _flat_stage(name: str) -> str:
    """Turn the stage ``stages.0`` of a model into ``stages_0``, as it is called among features."""
    return re.sub(r"^(stages|layers|stem)\.", r"\1_", name)
