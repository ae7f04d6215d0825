"""Timing `ovsuite segment` on a folder against the bare model, and the drawing of results alone.

The bare loop reads each picture and makes its labels, nothing else; the command also draws and
writes the results, in threads beside the network. Seconds of the main thread say what a machine
with a second core waits for; those of all threads are what the work costs. Both are processor time,
which other programs change little.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..draw import render
from ..errors import UserError
from ..files.pictures import find_pictures, read_picture
from ..predict.folder import segment_files
from ..predict.predictor import Predictor
from ..predict.reading import read_inputs
from ..words.vocabulary import Vocabulary
from .benchmark_inputs import smooth_picture

CLOCKS = {
    "main thread": time.thread_time,
    "all threads": time.process_time,
    "wall clock": time.perf_counter,
}


def benchmark_folder(
    predictor: Predictor,
    vocabulary: Vocabulary,
    size: tuple[int, int],
    *,
    pictures: int = 20,
    repeats: int = 3,
) -> dict[str, Any]:
    """Segment made-up pictures by both loops in turns.

    Args:
        predictor: of the method.
        vocabulary: the words.
        size: (H, W) of each picture.
        pictures: how many.
        repeats: rounds.

    Returns:
        ``seconds`` clock -> [bare, command], medians per picture; ``ratio`` clock -> median of the
        rounds' ratios; ``texts`` how many texts were encoded after the warm-up; ``drawing``
        processor seconds of drawing one result in which all words occur.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(pictures):
            picture = smooth_picture(*size).byte().permute(1, 2, 0).numpy()
            Image.fromarray(picture).save(folder / f"{index:03d}.jpg", quality=92)
        paths = find_pictures(folder)
        _bare(predictor, vocabulary, paths[:2])  # warm up: text embeddings, memory
        before = predictor.model.text_encoder.num_computed
        rounds = [
            (
                _clocked(lambda: _bare(predictor, vocabulary, paths)),
                _clocked(partial(_whole, predictor, vocabulary, paths, folder / f"out{r}")),
            )
            for r in range(repeats)
        ]
    seconds, ratio = {}, {}
    for place, clock in enumerate(CLOCKS):
        pairs = [(bare[place] / pictures, whole[place] / pictures) for bare, whole in rounds]
        seconds[clock] = [statistics.median(times) for times in zip(*pairs, strict=True)]
        ratio[clock] = statistics.median(whole / bare for bare, whole in pairs)
    return {
        "pictures": pictures,
        "seconds": seconds,
        "ratio": ratio,
        "texts": predictor.model.text_encoder.num_computed - before,
        "drawing": _drawing(size, vocabulary.names),
    }


def _bare(predictor: Predictor, vocabulary: Vocabulary, paths: list[Path]) -> None:
    model = predictor.model
    model.set_vocabulary(vocabulary)
    with torch.no_grad():
        for path in paths:
            image = read_picture(path)
            encoded = model.encode_picture(predictor.tensor(image))
            model.postprocess(model.score_picture(encoded, image.shape[:2]))


def _whole(predictor: Predictor, vocabulary: Vocabulary, paths: list[Path], folder: Path) -> None:
    predictor.forget()
    folder.mkdir()
    tally = segment_files(predictor, vocabulary, read_inputs(paths), folder, total=len(paths))
    if tally.failed:
        raise UserError(tally.failed[0])


def _clocked(call: Callable[[], object]) -> list[float]:
    """Seconds of every clock."""
    before = [clock() for clock in CLOCKS.values()]
    call()
    return [clock() - start for clock, start in zip(CLOCKS.values(), before, strict=True)]


def _drawing(size: tuple[int, int], names: list[str]) -> float:
    """Median processor seconds of ``render`` where all names occur, in the main thread."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    side = max(1, round((height * width / (2 * len(names))) ** 0.5))
    labels = ((rows // side) * 31 + columns // side) % len(names)
    image = np.stack([rows % 256, columns % 256, labels % 256], -1).astype(np.uint8)
    return statistics.median(_clocked(lambda: render(image, labels, names))[0] for _ in range(9))
