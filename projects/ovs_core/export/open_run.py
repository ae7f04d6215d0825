"""From a config and words to a checked program of any words and the embeddings beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from ..errors import UserError
from ..files.writing import atomic_path
from ..modeling.scores import Size
from ..modeling.segmenter import Segmenter
from ..words.vocabulary import Vocabulary
from .check import Check, Program, compare, pictures_to_compare
from .files import write_program
from .open_files import WORDS, OpenProgram, load_open_program, save_words, text_tower
from .open_program import MOST_WORDS, open_inputs, trace_open
from .run import FORMATS, OWN, build_with_words, check_program_target, warn_untrained

TRACED = "car, sky, tree, wall, floor"  # no program may be traced with one word, as if all had one
ONE = "car"
OPEN_FORMATS = {
    **{suffix: name for suffix, name in FORMATS.items() if suffix != OWN},
    WORDS: "embeddings of words alone",
}
COMPARED_SIZES = (192, 256), (160, 128), (200, 150)  # of pictures, where any size may come


def export_open(
    cfg: CfgNode,
    words: Vocabulary | str | Path | Sequence[str] | None,
    path: str | Path,
    *,
    size: Size | None = None,
    pictures: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> list[Check]:
    """Write a program whose words come when it runs, and the embeddings of some words beside it.

    Args:
        cfg: finished config of the model; its device is the program's.
        words: see ``export``; their embeddings become ``<path without suffix>.safetensors``.
        path: ``.pt2`` or ``.onnx``; ``.safetensors`` for the embeddings alone.
        size: (H, W) of the pictures that the program takes; None for any.
        pictures: picture files for the comparison; default a few drawn ones. Noise is always added.
        overwrite: whether existing files may be replaced.

    Returns:
        Comparisons of the program with the model, by vocabulary and size; none for embeddings.

    Raises:
        UserError: if the model cannot be written like this, or the file differs from it; nothing is
            left behind then.
    """
    path = Path(path)
    beside = path.with_suffix(WORDS)
    for target in dict.fromkeys((path, beside)):
        check_program_target(target, overwrite, OPEN_FORMATS)
    vocabulary = None if words is None else Vocabulary.parse(words)
    model = build_with_words(cfg, vocabulary)
    vocabulary = model.vocabulary
    if len(vocabulary) > MOST_WORDS:
        raise UserError(f"{len(vocabulary)} words are more than the {MOST_WORDS} of a program")
    if path.suffix == WORDS:
        save_words(model, path)
        return []
    warn_untrained(cfg, model)
    model.open_embeddings()  # refuses words of several texts before the work
    with atomic_path(path) as part:
        traced = build_with_words(cfg, Vocabulary.parse(TRACED))
        write_program(trace_open(traced, size), part, _record(cfg, traced, size))
        program, _ = load_open_program(part)
        checks = _compared(model, program, vocabulary, size, pictures)
        if failed := [check for check in checks if not check.passed]:
            raise UserError(f"the program differs from the model, so it was dropped: {failed[0]}")
    model.set_vocabulary(vocabulary)
    save_words(model, beside)
    return checks


def _compared(
    model: Segmenter,
    program: OpenProgram,
    vocabulary: Vocabulary,
    size: Size | None,
    pictures: Sequence[str | Path],
) -> list[Check]:
    """Compare at one size with the words and with one word, and at the other sizes."""
    apart = Vocabulary(dataclasses.replace(entry, is_background=False) for entry in vocabulary)
    sizes = [size] if size else list(COMPARED_SIZES)
    shown = [pictures_to_compare(one, pictures) for one in sizes]
    pairs = [(apart, shown[0]), (Vocabulary.parse(ONE), shown[0][:1])]
    pairs += [(apart, own[:2]) for own in shown[1:]]
    checks = []
    for words, own in pairs:
        model.set_vocabulary(words)
        checks.append(compare(model, _of_words(model, program), own))
    return checks


def _of_words(model: Segmenter, program: OpenProgram) -> Program:
    """A program of pictures alone, with the model's current words."""

    def run(picture: np.ndarray) -> list[np.ndarray]:
        size = (picture.shape[1], picture.shape[2])
        inputs = open_inputs(model, torch.from_numpy(picture[None]), size)
        return list(program({name: value.cpu().numpy() for name, value in inputs.items()}))

    return run


def _record(cfg: CfgNode, model: Segmenter, size: Size | None) -> dict[str, Any]:
    """What a user of the file needs to know."""
    sides = list(size) if size else ["height", "width"]
    shape = ["words", *model.open_embeddings().shape[1:]]
    inputs = [
        {"name": "pictures", "shape": ["pictures", 3, *sides], "type": "float32"},  # RGB 0..255
        {"name": "embeddings", "shape": shape, "type": "float32"},
        {"name": "size", "shape": [2], "type": "int64"},
    ]
    if model.open_seen() is not None:
        inputs.append({"name": "seen", "shape": ["words"], "type": "bool"})
    labels = {"name": "labels", "shape": ["pictures", "size[0]", "size[1]"], "type": "int64"}
    return {
        "inputs": inputs,
        "outputs": [labels],
        "most_words": MOST_WORDS,
        "text_tower": text_tower(model),
        "model": cfg.MODEL.META_ARCHITECTURE,
        "config": Path(cfg.CONFIG_FILE).name,
        "weights": cfg.MODEL.WEIGHTS,
        "device": cfg.MODEL.DEVICE,
    }
