"""Giving a model the engine that its config asks for, and taking it off again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode

from ...clip.identity import fingerprint
from ...errors import UserError
from ..contract import OpenVocabularyModel
from ..onnx_files import onnx_packages
from ..runtime_rule import KEY, RuntimeRule
from ..segmenter import Segmenter
from .engines import GRAPH_ENGINES, check_engine
from .graph_files import GraphFiles, code_digest
from .graph_part import GraphPart
from .torch_part import TorchPart


def install_runtime(model: OpenVocabularyModel, rule: RuntimeRule, cfg: CfgNode) -> None:
    """Let an engine run those methods of a model that are networks, see ``engine_parts``.

    Args:
        model: in eval mode; changed in place.
        rule: which engine; with eager float32 no method is changed.
        cfg: that the model was built from.

    Raises:
        UserError: if the model has no such methods, or the engine cannot run them.
    """
    if isinstance(model, Segmenter):
        model.runtime = rule
    if rule.is_plain:
        return
    if not isinstance(model, Segmenter):
        raise UserError(f"{KEY}: {type(model).__name__} runs as eager float32 alone")
    if obstacle := model.engine_obstacle():
        raise UserError(f"{KEY}: {type(model).__name__} runs as eager float32 alone: {obstacle}")
    with eager(model):
        methods = {name: getattr(model, name) for name in model.engine_parts}
    parts: dict[str, TorchPart | GraphPart]
    if rule.engine in GRAPH_ENGINES:
        check_engine(rule, model.device)
        files = _graph_files(model, cfg)
        parts = {n: GraphPart(model, n, method, rule, files) for n, method in methods.items()}
    else:
        parts = {name: TorchPart(model, method, rule) for name, method in methods.items()}
    for name, part in parts.items():
        setattr(model, name, part)


@contextmanager
def eager(model: Segmenter) -> Iterator[None]:
    """Let the block run the model as eager float32 without a shortcut, whatever engine it has."""
    taken = {name: vars(model).pop(name) for name in model.engine_parts if name in vars(model)}
    try:
        with model.without_shortcut():
            yield
    finally:
        vars(model).update(taken)


def _graph_files(model: Segmenter, cfg: CfgNode) -> GraphFiles:
    """The files of all that decides a graph besides its size class."""
    kept = cfg.MODEL.clone()
    kept.defrost()
    del kept.OVS["RUNTIME"]
    kept.WEIGHTS = kept.DEVICE = ""  # the weights are hashed themselves
    return GraphFiles(
        [
            str(kept.dump()),
            fingerprint(model.state_dict()),
            code_digest(model),
            onnx_packages().__version__,
            torch.__version__,
        ]
    )
