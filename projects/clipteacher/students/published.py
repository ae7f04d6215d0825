"""Published weights of encoders: where they are, and their names brought to the encoders' own."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from torch import Tensor, nn

from ovs_core.errors import UserError
from ovs_core.files.network import why_unreachable
from ovs_core.files.weights_folder import find_in_weights_folder, weights_folder
from ovs_core.load_report import find_tensors, load_weights
from ovs_core.modeling.checkpoint import read_checkpoint

from .registry import KEY

IMAGENET = "imagenet"  # stands for the weights that are published under a student's name
OWNER, MEND = "this student's encoder", f"set {KEY}.NAME to the variant of {KEY}.WEIGHTS"
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


def download(url: str, place: str) -> dict[str, Any]:
    """Take a file of weights from the weights folder or torch's cache, or fetch it.

    Args:
        url: its address.
        place: where `ovsuite weights get` puts it in the weights folder.

    Raises:
        UserError: if it cannot be fetched.
    """
    file = url.rpartition("/")[2]
    for name in (place, file):
        if (here := find_in_weights_folder(name)).is_file():
            return read_checkpoint(here)
    if not (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file():
        if reason := why_unreachable(url):
            raise unreachable(url, OSError(f"{reason}; bring it to {weights_folder() / place}"))
    try:
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except OSError as error:
        raise unreachable(url, error) from error


def hub_folder(name: str) -> str:
    """Say what ``transformers`` is to read: a folder in the weights folder, else the hub's name.

    Args:
        name: of a repository on the hub.

    Raises:
        UserError: if it is neither on this disk nor can be reached.
    """
    if (here := find_in_weights_folder(name)).is_dir():
        return str(here)
    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        if reason := why_unreachable(hf_hub_url(name, "config.json")):
            raise unreachable(name, OSError(f"{reason}; bring it to {weights_folder() / name}"))
    return name


def encoder_tensors(content: object, source: str) -> Tensors:
    """Take an encoder's tensors out of a file's content, maybe that of a whole segmenter."""
    tensors = find_tensors(content, source)
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
    load_weights(module, tensors, source=source, owner=OWNER, mend=MEND, enough=1.0)


def hub_names(tensors: Tensors) -> Tensors:
    """Bring an encoder's tensors to the names of the hub.

    Args:
        tensors: in the hub's names or in those of mmsegmentation, whose attention keeps query, key
            and value in one matrix.

    Returns:
        Name -> tensor.
    """
    renamed: Tensors = {}
    for name, tensor in tensors.items():
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
