"""Reading CLIP weight files of every common form as plain tensors, never as code."""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError
from ..files.weights_folder import find_in_weights_folder
from ..load_report import find_tensors
from .torchscript_archive import is_torchscript_archive, read_torchscript_tensors

_MOST_EXPANSION = 4  # code inside TorchScript archives is packed, the weights are not
_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
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


def check_weight_file(path: str | Path) -> None:
    """Refuse a file that is not there, nor in the weights folder.

    Raises:
        UserError: names the file.
    """
    if not find_in_weights_folder(path).is_file():
        raise UserError(f"{path}: no such weight file; check MODEL.CLIP.PRETRAINED")


def read_weight_file(path: str | Path) -> WeightFile:
    """Read ``.safetensors``, a state dict saved by torch, or an OpenAI TorchScript archive.

    Args:
        path: the file; one that is not there is looked for in the weights folder.

    Returns:
        Its tensors (on the CPU, stored dtype) and metadata.

    Raises:
        UserError: if the file is missing, truncated, of no known form, or would have to run code.
    """
    path = find_in_weights_folder(path)
    check_weight_file(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    _check_archive(path)
    with _errors_of(path):
        is_archive = is_torchscript_archive(path)
        tensors = read_torchscript_tensors(path) if is_archive else {}
    if not is_archive:
        tensors = _plain_tensors(read_torch_file(path), path)
    kept = {k: v for k, v in tensors.items() if k not in _OPENAI_EXTRAS}
    return WeightFile(kept, {}, is_openai_archive=is_archive)


def read_torch_file(path: Path) -> object:
    """Read what ``torch.save`` wrote, tensors and plain data alone, onto the CPU.

    Raises:
        UserError: if the file is truncated, of another kind, or would have to run code.
    """
    _check_archive(path)
    with _errors_of(path):
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _check_archive(path: Path) -> None:
    """Hold what a zip archive states of its parts against what they are, before any is used.

    PyTorch writes a checksum for every part and does not look at it when it reads.
    """
    if not zipfile.is_zipfile(path):
        return
    with _errors_of(path), zipfile.ZipFile(path) as archive:
        stated = sum(part.file_size for part in archive.infolist())
        if stated > _MOST_EXPANSION * path.stat().st_size:
            raise UserError(
                f"{path}: refused, {path.stat().st_size / 2**20:.1f} MiB would unpack to "
                f"{stated / 2**20:.0f} MiB; weights are stored unpacked"
            )
        if damaged := archive.testzip():
            raise UserError(f"{path}: damaged, '{damaged}' is not what was written; fetch it again")


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with a file."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: refused, because reading it would run code or it holds no weights; "
            "save the tensors alone, best as .safetensors"
        ) from error
    except (
        SafetensorError, RuntimeError, EOFError, OSError, KeyError, ValueError, zipfile.BadZipFile
    ) as error:  # fmt: skip
        raise UserError(f"{path}: damaged or truncated; fetch it again ({error})") from error


def _read_safetensors(path: Path) -> WeightFile:
    with _errors_of(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return WeightFile(_strip_prefix(tensors), dict(file.metadata() or {}), False)


def _plain_tensors(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict) and content.get("format") == "ovsuite":
        raise UserError(
            f"{path}: a checkpoint of this suite, which holds only what was trained, is no CLIP; "
            "give it as MODEL.WEIGHTS"
        )
    return _strip_prefix(find_tensors(content, path))


def _strip_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo the prefixes of a model that was saved from DistributedDataParallel or compiled."""
    wrapper = next((w for w in _WRAPPERS if all(name.startswith(w) for name in tensors)), "")
    if not wrapper or not tensors:
        return tensors
    return _strip_prefix({name.removeprefix(wrapper): value for name, value in tensors.items()})
