"""Reading CLIP weight files of every common form as plain tensors, never as code."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError
from .torchscript_archive import is_torchscript_archive, read_torchscript_tensors

# Scalars that OpenAI's archives keep beside the weights.
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    Attributes:
        tensors: parameter name -> tensor, in open_clip's (= OpenAI's) naming.
        metadata: text metadata of a safetensors file, else empty.
        is_openai_archive: whether it is a TorchScript archive as OpenAI publishes them.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    is_openai_archive: bool


def read_weight_file(path: str | Path) -> WeightFile:
    """Read ``.safetensors``, a state dict saved by torch, or an OpenAI TorchScript archive.

    Args:
        path: the file.

    Returns:
        Its tensors (on the CPU, stored dtype) and metadata.

    Raises:
        UserError: if the file is missing, truncated, of no known form, or would have to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weight file; check MODEL.CLIP.PRETRAINED")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        if is_torchscript_archive(path):
            tensors = read_torchscript_tensors(path)
            kept = {k: v for k, v in tensors.items() if k not in _OPENAI_EXTRAS}
            return WeightFile(kept, {}, is_openai_archive=True)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: refused, because reading it would run code or it is no weight file; "
            "save the tensors alone, best as .safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: damaged or truncated weight file; fetch it again ({error})"
        ) from error
    return WeightFile(_unwrap(loaded, path), {}, is_openai_archive=False)


def _read_safetensors(path: Path) -> WeightFile:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return WeightFile(_strip_prefix(tensors), dict(file.metadata() or {}), False)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: damaged or truncated weight file; fetch it again ({error})"
        ) from error


def _unwrap(loaded: object, path: Path) -> dict[str, Tensor]:
    if isinstance(loaded, dict) and loaded.get("format") == "ovsuite":
        raise UserError(
            f"{path}: a checkpoint of this suite, which holds only what was trained, is no CLIP; "
            "give it as MODEL.WEIGHTS"
        )
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded:
        raise UserError(f"{path}: holds no state dict (found {type(loaded).__name__})")
    tensors = {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}
    if not tensors:
        raise UserError(f"{path}: its state dict holds no tensor")
    return _strip_prefix({k: v for k, v in tensors.items() if k not in _OPENAI_EXTRAS})


def _strip_prefix(tensors: dict[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    """Undo the prefix of a model that was saved from DistributedDataParallel."""
    if all(name.startswith(prefix) for name in tensors):
        return {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
