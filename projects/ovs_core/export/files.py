"""The files of a program: ``torch.export`` archives and ONNX, with a record of what they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from ..errors import UserError
from ..modeling.onnx_files import onnx_session, write_onnx
from .check import Program

METADATA = "ovsuite.json"  # name of the record inside the file


def write_program(program: ExportedProgram, path: Path, record: dict[str, Any]) -> None:
    """Write a program with its record.

    Args:
        program: of ``trace``.
        path: ``.pt2`` or ``.onnx``.
        record: what a user of the file needs to know, as JSON takes it; ``outputs`` has names.

    Raises:
        UserError: if ONNX has no form of the program.
    """
    if path.suffix == ".onnx":
        write_onnx(
            program,
            path,
            inputs=[one["name"] for one in record.get("inputs") or [record["input"]]],
            outputs=[output["name"] for output in record["outputs"]],
            instead="write a .pt2 file instead",
            metadata={METADATA: json.dumps(record)},
        )
    else:
        torch.export.save(program, str(path), extra_files={METADATA: json.dumps(record)})


def load_program(path: str | Path) -> tuple[Program, dict[str, Any]]:
    """Read a ``.pt2`` or ``.onnx`` file of ``export``.

    Args:
        path: the file.

    Returns:
        A function from a (3, H, W) float32 array in 0..255 to its outputs, and the record with the
        class names and sizes.

    Raises:
        UserError: if the file is a program whose words come when it runs.
    """
    run, record = (_load_onnx if Path(path).suffix == ".onnx" else _load_pt2)(Path(path))
    if "input" not in record:
        raise UserError(f"{path}: written with --open, so its words and sizes are inputs, too")
    return run, record


def _load_pt2(path: Path) -> tuple[Program, dict[str, Any]]:
    extra = {METADATA: ""}
    module = torch.export.load(str(path), extra_files=extra).module()

    def run(picture: np.ndarray) -> list[np.ndarray]:
        return [output.cpu().numpy() for output in module(torch.from_numpy(picture))]

    return run, json.loads(extra[METADATA])


def _load_onnx(path: Path) -> tuple[Program, dict[str, Any]]:
    session = onnx_session(path)
    record = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])

    def run(picture: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {record["input"]["name"]: picture})

    return run, record
