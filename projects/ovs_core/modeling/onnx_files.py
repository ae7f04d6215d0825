"""ONNX files: written from a ``torch.export`` program, and opened by ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.export import ExportedProgram

from ..errors import UserError, innermost


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
    runtime: ModuleType = onnxruntime
    return runtime


def write_onnx(
    program: ExportedProgram,
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    instead: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a program as ONNX.

    Args:
        program: of ``torch.export``.
        path: the file.
        inputs: their names.
        outputs: their names.
        instead: what a person may do if ONNX has no form of the program.
        metadata: name -> text that the file carries.

    Raises:
        UserError: if ONNX has no form of the program, or a package is missing.
    """
    onnx_packages()
    for chatty in ("onnxscript", "onnx_ir"):  # they report every optimisation that does not apply
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        converted = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(
            f"ONNX has no form of this model ({innermost(error)}); {instead}"
        ) from error
    assert converted is not None  # None is for models that are not exported by dynamo
    converted.model.metadata_props.update(metadata or {})
    converted.save(str(path))


def onnx_session(path: str | Path, threads: int = 0) -> Any:
    """Open an ONNX file for the CPU.

    Args:
        path: the file.
        threads: of an operation; 0 for as many as there are cores.

    Raises:
        UserError: if a package is missing.
    """
    runtime = onnx_packages()
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of every tensor that it finds superfluous
    options.intra_op_num_threads = threads
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
