"""From a config, words and a file name to a checked file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from ..engine.run import build_segmenter
from ..engine.train_loader import seed_everything
from ..engine.trainer import set_test_words
from ..errors import UserError
from ..files.writing import atomic_path, check_output_dir
from ..modeling.onnx_files import onnx_packages
from ..modeling.runtime_rule import refuse_runtime
from ..modeling.scores import Size
from ..modeling.segmenter import Segmenter
from ..predict.tiles import LONGEST
from ..words.vocabulary import Vocabulary
from .check import Check, Program, compare, pictures_to_compare
from .files import load_program, write_program
from .program import trace

OWN = ".pth"
FORMATS = {".pt2": "torch.export program", ".onnx": "ONNX", OWN: "the method's own file"}
SHOWN_SIZE = (192, 256)  # of the pictures on which a method's own file is compared

logger = logging.getLogger(__name__)


def export(
    cfg: CfgNode,
    words: Vocabulary | str | Path | Sequence[str] | None,
    path: str | Path,
    *,
    size: Size | None = None,
    with_scores: bool = False,
    pictures: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> Check:
    """Write a model with fixed words to a file and compare the file with the model.

    Args:
        cfg: finished config of the model; its device is the program's.
        words: see ``Vocabulary.parse``; None for the classes of the first of ``DATASETS.TEST``,
            with its unseen ones.
        path: ``.pt2`` for a ``torch.export`` program, ``.onnx`` for ONNX, ``.pth`` for the file
            that the method itself offers.
        size: (H, W) of the pictures that the program takes and of the labels it gives; a method's
            own file takes any and is compared at this size.
        with_scores: also give the (K, H, W) scores.
        pictures: picture files for the comparison; default a few drawn ones. Noise is always added.
        overwrite: whether an existing file may be replaced.

    Returns:
        The comparison.

    Raises:
        UserError: if the model cannot be written like this, or the file differs from it; nothing is
            left behind then.
    """
    path = Path(path)
    check_program_target(path, overwrite, FORMATS)
    size = _checked_size(path, size, with_scores)
    vocabulary = None if words is None else Vocabulary.parse(words)
    shown = pictures_to_compare(size, pictures)
    model = build_with_words(cfg, vocabulary)
    warn_untrained(cfg, model)
    with atomic_path(path) as part:
        if path.suffix == OWN:
            program = _write_own(model, cfg, part)
        else:
            record = _record(cfg, model.vocabulary, size, with_scores)
            example = torch.from_numpy(shown[0])
            write_program(trace(model, example, with_scores=with_scores), part, record)
            program, _ = load_program(part)
            model = build_with_words(cfg, vocabulary)  # tracing has used the other one up
        check = compare(model, program, shown)
        if not check.passed:
            raise UserError(f"the program differs from the model, so it was dropped: {check}")
    return check


def check_program_target(path: Path, overwrite: bool, formats: Mapping[str, str]) -> None:
    """Refuse a file that cannot be written.

    Args:
        path: of the file.
        overwrite: whether it may be there already.
        formats: ending of its name -> what it is.

    Raises:
        UserError: names the file and the reason.
    """
    if path.suffix not in formats:
        *kinds, last = (f"{suffix} ({name})" for suffix, name in formats.items())
        raise UserError(f"{path}: the output's name must end in {', '.join(kinds)} or {last}")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; give another name, or --overwrite")
    check_output_dir(path.parent)
    if path.suffix == ".onnx":
        onnx_packages()


def _checked_size(path: Path, size: Size | None, with_scores: bool) -> Size:
    if path.suffix == OWN and with_scores:
        raise UserError(f"{path}: a method's own file gives labels; take --scores out")
    if size is None and path.suffix != OWN:
        raise UserError(f"{path}: a program is made for one size of picture; give --size HxW")
    height, width = size or SHOWN_SIZE
    if max(height, width) > LONGEST * min(height, width):
        raise UserError(
            f"--size {height}x{width}: one side may be {LONGEST} times the other at most; the "
            "suite cuts longer pictures into pieces, so export for a piece"
        )
    return height, width


def warn_untrained(cfg: CfgNode, model: Segmenter) -> None:
    """Tell the log of a model that is trained, but has no weights."""
    if model.trains and not cfg.MODEL.WEIGHTS:
        logger.warning("%s is trained, but no weights were given", cfg.CONFIG_FILE)


def build_with_words(cfg: CfgNode, vocabulary: Vocabulary | None) -> Segmenter:
    """Build a model, the same each time.

    Args:
        cfg: finished config.
        vocabulary: its words; None for the classes of the first of ``DATASETS.TEST``.

    Raises:
        UserError: if it does not segment, or there are no words.
    """
    refuse_runtime(cfg, "a written file")
    seed_everything(max(cfg.SEED, 0))  # the same weights each time, also where a config draws them
    model = build_segmenter(cfg)
    if not isinstance(model, Segmenter):
        raise UserError(
            f"{cfg.CONFIG_FILE}: builds a {type(model).__name__}, which does not segment"
        )
    if vocabulary is not None:
        model.set_vocabulary(vocabulary)
    elif cfg.DATASETS.TEST:
        set_test_words(cfg, model, cfg.DATASETS.TEST[0])
    else:
        raise UserError(f"{cfg.CONFIG_FILE}: names no DATASETS.TEST, so give --words")
    return model


def _write_own(model: Segmenter, cfg: CfgNode, path: Path) -> Program:
    segment = model.export_own(path, cfg)

    def run(picture: np.ndarray) -> list[np.ndarray]:
        return [segment(torch.from_numpy(picture)).cpu().numpy()]

    return run


def _record(cfg: CfgNode, vocabulary: Vocabulary, size: Size, with_scores: bool) -> dict[str, Any]:
    """What a user of the file needs to know."""
    labels = {"name": "labels", "shape": list(size), "type": "int64"}
    scores = {"name": "scores", "shape": [len(vocabulary), *size], "type": "float32"}
    return {
        "names": vocabulary.names,
        "background": list(vocabulary.background_index),
        "input": {"name": "picture", "shape": [3, *size], "type": "float32"},  # RGB 0..255
        "outputs": [labels, scores][: 1 + with_scores],
        "model": cfg.MODEL.META_ARCHITECTURE,
        "config": Path(cfg.CONFIG_FILE).name,
        "weights": cfg.MODEL.WEIGHTS,
        "device": cfg.MODEL.DEVICE,
    }
