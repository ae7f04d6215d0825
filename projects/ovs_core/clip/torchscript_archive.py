"""Reading tensors from a TorchScript archive without running it.

OpenAI publishes CLIP as TorchScript archives. ``torch.load(weights_only=True)`` refuses those and
``torch.jit.load`` would interpret the code in them, so only the tensors are read here: the
archive's pickle is decoded with an allow-list, and every scripted class becomes a plain attribute
holder.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
}


class _Holder:
    """Stands for any scripted module: keeps its attributes, runs nothing."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _StorageType:
    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, read_record: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(data))
        self._read_record = read_record
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type(name, (_Holder,), {})
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        allowed: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_doublelist"): list,
            ("torch.jit._pickle", "build_boollist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, tag: value,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"refers to {module}.{name}, which is not data")
        return allowed[(module, name)]

    def persistent_load(self, pid: Any) -> Tensor:
        kind, storage_type, key, _, count = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise pickle.UnpicklingError(f"unknown stored object {kind!r}")
        if key not in self._storages:
            data = bytearray(self._read_record(f"data/{key}"))
            self._storages[key] = torch.frombuffer(data, dtype=storage_type.dtype, count=count)
        return self._storages[key]


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def is_torchscript_archive(path: Path) -> bool:
    """Tell whether a file is a zip that holds TorchScript code beside its data."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def read_torchscript_tensors(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a scripted module.

    Args:
        path: the archive.

    Returns:
        Dotted attribute path -> tensor, as the module's own ``state_dict`` names them (integer
        attributes such as ``input_resolution`` are left out).

    Raises:
        pickle.UnpicklingError: if the archive refers to anything that is not tensor data.
        zipfile.BadZipFile, KeyError: if the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        top = archive.namelist()[0].split("/")[0]
        data = archive.read(f"{top}/data.pkl")
        unpickler = _TensorUnpickler(data, lambda name: archive.read(f"{top}/{name}"))
        root = unpickler.load()
    tensors: dict[str, Tensor] = {}
    _collect(root, "", tensors)
    return tensors


def _collect(node: Any, prefix: str, tensors: dict[str, Tensor]) -> None:
    for name, value in vars(node).items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif isinstance(value, _Holder):
            _collect(value, f"{prefix}{name}.", tensors)
