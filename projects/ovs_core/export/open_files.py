"""The two files of a program of any words: the program, and the embeddings of a list of words.

Neither runs code when it is read: ONNX or a ``torch.export`` archive, and safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UserError
from ..files.writing import save_safetensors
from ..modeling.onnx_files import onnx_session
from ..modeling.segmenter import Segmenter
from ..words.label_space import fold_background
from .files import METADATA

WORDS = ".safetensors"
# Named inputs of ``OpenPath`` -> labels (B, H, W) int64
OpenProgram = Callable[[dict[str, np.ndarray]], np.ndarray]


def save_words(model: Segmenter, path: str | Path) -> None:
    """Write what a program of any words needs to know of the model's current words.

    The tensors are its inputs ``embeddings`` and, where the program has it, ``seen``, and
    ``classes``: (K,) int64, the class that a label counts as, which joins background words.

    Args:
        model: with words.
        path: ends in ``.safetensors``.

    Raises:
        UserError: if the method knows these words by more than one embedding each.
    """
    vocabulary = model.vocabulary
    own = torch.arange(len(vocabulary))
    tensors = {
        "embeddings": model.open_embeddings().detach().cpu().contiguous(),
        "classes": fold_background(own, vocabulary.background_index).contiguous(),
    }
    if (seen := model.open_seen()) is not None:
        tensors["seen"] = seen.cpu().contiguous()
    stated = {"names": json.dumps(vocabulary.names), "text_tower": text_tower(model)}
    save_safetensors(path, tensors, stated)


def text_tower(model: Segmenter) -> str:
    """Hash of the text tower; a program and the embeddings that it is given must have one."""
    return model.clip.identity.text_fingerprint


def load_open_program(path: str | Path) -> tuple[OpenProgram, dict[str, Any]]:
    """Read a ``.pt2`` or ``.onnx`` file of ``export_open``.

    Args:
        path: the file.

    Returns:
        A function of named arrays, see ``OpenPath``, and the record of what it holds.

    Raises:
        UserError: if the file is a program of fixed words.
    """
    if Path(path).suffix == ".onnx":
        session = onnx_session(path)
        record = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])

        def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
            labels: np.ndarray = session.run(None, inputs)[0]
            return labels
    else:
        extra = {METADATA: ""}
        module = torch.export.load(str(path), extra_files=extra).module()
        record = json.loads(extra[METADATA])

        def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            labels: np.ndarray = module(**tensors).cpu().numpy()
            return labels

    if "inputs" not in record:
        raise UserError(f"{path}: its words are fixed; write another one with --open")
    return run, record
