"""Checkpoints for sharing: safetensors, the rest of the checkpoint as text beside the tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..clip.identity import fingerprint
from ..clip.weight_files import WeightFile
from ..errors import UserError
from ..files.digests import digest
from ..files.json_files import parse_json
from ..files.writing import save_safetensors

FORMAT = "ovsuite"
CARD = "card"  # name of the facts for a reader
_TEXTS = ("clip", "digests")  # parts of a checkpoint that are JSON here
_CHOSEN = "chosen_on"  # likewise, where there is one
_HEAD = "head"  # name of the digest of these texts; the first files that were shared have none
_PARTS = {"format", "architecture", *_TEXTS, _CHOSEN, CARD, _HEAD}


def write_shared(
    path: str | Path, data: Mapping[str, Any], card: Mapping[str, Any], *, half: bool = False
) -> None:
    """Write a checkpoint of the suite for sharing.

    Args:
        path: ends in ``.safetensors``.
        data: content of the checkpoint; states of a run are left out.
        card: facts for a reader, as JSON takes them.
        half: keep float32 tensors in half precision.

    Raises:
        UserError: if a value is too large for half precision.
        OSError: if it cannot be written.
    """
    tensors = {name: _kept(name, tensor, half) for name, tensor in data["model"].items()}
    texts = {
        "clip": data["clip"],
        "digests": {name: fingerprint({name: tensor}) for name, tensor in tensors.items()},
        CARD: card,
        **({_CHOSEN: data[_CHOSEN]} if _CHOSEN in data else {}),
    }
    metadata = {"format": FORMAT, "architecture": str(data["architecture"])}
    metadata |= {name: json.dumps(part, sort_keys=True) for name, part in texts.items()}
    save_safetensors(path, tensors, metadata | {_HEAD: _head_digest(metadata)})


def shared_content(file: WeightFile, path: str | Path) -> dict[str, Any]:
    """Give a safetensors file the form of a checkpoint.

    Args:
        file: what was read.
        path: where, for messages.

    Returns:
        Content of a checkpoint of the suite; of another file, its tensors under ``model``.

    Raises:
        UserError: if a part of a checkpoint of the suite is missing, or is not what was written.
    """
    if file.metadata.get("format") != FORMAT:
        if {"digests", CARD} <= file.metadata.keys():
            raise UserError(f"{path}: its part 'format' is damaged; use another file")
        return {"model": file.tensors}
    _check_head(file.metadata, path)
    data: dict[str, Any] = {
        "format": FORMAT,
        "architecture": file.metadata.get("architecture"),
        "model": file.tensors,
    }
    for name in (*_TEXTS, *({_CHOSEN} & file.metadata.keys())):
        try:
            data[name] = parse_json(file.metadata.get(name, "null"))
        except ValueError as error:
            raise UserError(f"{path}: its part '{name}' is damaged; use another file") from error
    stated = data["digests"]
    if not isinstance(stated, dict) or stated.keys() != file.tensors.keys():
        raise UserError(f"{path}: its part 'digests' is damaged; use another file")
    return data


def _head_digest(metadata: Mapping[str, str]) -> str:
    return digest(json.dumps({k: v for k, v in metadata.items() if k != _HEAD}, sort_keys=True))


def _check_head(metadata: Mapping[str, str], path: str | Path) -> None:
    """Refuse texts that are not what was written, also where a part has lost its name."""
    for name in metadata.keys() - _PARTS:
        raise UserError(f"{path}: its part '{name}' is unknown, the file is damaged")
    if metadata.get(_HEAD, found := _head_digest(metadata)) != found:
        raise UserError(f"{path}: its description is not what was written; the file is damaged")


def _kept(name: str, tensor: Tensor, half: bool) -> Tensor:
    if not half or tensor.dtype != torch.float32:
        return tensor.contiguous()
    small = tensor.half()
    if not torch.equal(small.isfinite(), tensor.isfinite()):
        raise UserError(f"{name}: holds values too large for half precision; leave out --half")
    return small.contiguous()
