"""The engines that run a graph: each opens an ONNX file as a function of arrays."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ...errors import UserError
from ...files.extras import needed
from ..onnx_files import onnx_packages, onnx_session
from ..runtime_rule import KEY, RuntimeRule

# Arrays in the order of the graph's inputs -> arrays in that of its outputs
Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
GRAPH_ENGINES = ("openvino", "onnxruntime")
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_CAPABILITIES = {"bfloat16": "BF16", "float16": "FP16"}


def check_engine(rule: RuntimeRule, device: torch.device) -> None:
    """Refuse an engine that this machine lacks.

    Args:
        rule: of ``GRAPH_ENGINES``.
        device: where the model is.

    Raises:
        UserError: names the package to install, the device, or the type to choose.
    """
    if device.type != "cpu":
        raise UserError(
            f"{KEY}.ENGINE {rule.engine} runs on the CPU, but MODEL.DEVICE is {device}; set it to "
            "cpu, or choose eager or compile"
        )
    onnx_packages()
    if rule.engine == "openvino":
        core = needed("openvino", "openvino").Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if _CAPABILITIES.get(rule.dtype, "FP32") not in able:
            raise UserError(
                f"{KEY}.DTYPE {rule.dtype}: OpenVINO does not compute in it on this processor; "
                "choose float32"
            )


def open_graph(rule: RuntimeRule, path: Path) -> Run:
    """Open a file of ``GraphFiles`` in the numbers of the rule.

    Args:
        rule: of ``GRAPH_ENGINES``.
        path: ONNX.
    """
    return (_open_openvino if rule.engine == "openvino" else _open_onnxruntime)(rule, path)


def quantise(source: Path, target: Path) -> None:
    """Give the weights of products 8 bits; what they are multiplied by is scaled as it comes.

    Args:
        source: ONNX file in float32.
        target: file to write.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        # Weights of 7 bits: without VNNI, sums of two full 8-bit products would be cut off.
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


def _open_onnxruntime(rule: RuntimeRule, path: Path) -> Run:
    session = onnx_session(path, torch.get_num_threads())
    names = [one.name for one in session.get_inputs()]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(session.run(None, dict(zip(names, arrays, strict=True))))

    return run


def _open_openvino(rule: RuntimeRule, path: Path) -> Run:
    core = needed("openvino", "openvino").Core()
    stated = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": _HINTS.get(rule.dtype, "f32"),
    }
    compiled = core.compile_model(core.read_model(str(path)), "CPU", stated)
    request = compiled.create_infer_request()

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = request.infer(list(arrays))
        return [np.array(found[output]) for output in compiled.outputs]

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let nothing be logged below errors; the quantiser writes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
