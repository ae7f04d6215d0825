"""The files of a program: ``torch.export`` archives and ONNX, with a record of what they hold."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from ..errors import UserError
from .check import Program
from .program import innermost

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
        _write_onnx(program, path, record)
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


def onnx_packages() -> ModuleType:
    """Import what ONNX needs, and give its runtime.

    Raises:
        UserError: if a package is missing; names the extra to install.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"ONNX files need more packages ({error}): pip install -e '.[onnx]'"
        ) from error
    return onnxruntime


def _write_onnx(program: ExportedProgram, path: Path, record: dict[str, Any]) -> None:
    onnx_packages()
    for chatty in ("onnxscript", "onnx_ir"):  # they report every optimisation that does not apply
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        converted = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[one["name"] for one in record.get("inputs") or [record["input"]]],
            output_names=[output["name"] for output in record["outputs"]],
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(
            f"ONNX has no form of this model ({innermost(error)}); write a .pt2 file instead"
        ) from error
    assert converted is not None  # None is for models that are not exported by dynamo
    converted.model.metadata_props[METADATA] = json.dumps(record)
    converted.save(str(path))


def onnx_session(path: str | Path) -> Any:
    """Open an ONNX file for the CPU.

    Raises:
        UserError: if a package is missing.
    """
    runtime = onnx_packages()
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of every tensor that it finds superfluous
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _load_onnx(path: Path) -> tuple[Program, dict[str, Any]]:
    session = onnx_session(path)
    record = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])

    def run(picture: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {record["input"]["name"]: picture})

    return run, record
