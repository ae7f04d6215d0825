"""Several methods on a person's pictures: one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..draw import legend, palette, sheet
from ..errors import UserError
from ..files.pictures import load_picture
from ..files.writing import check_output_dir, save_picture
from ..words.vocabulary import Vocabulary
from .parts import MAKER, SHEET
from .predictor import Predictor

CELL = 640  # pixels of a picture's longer side on the sheet


def compare_pictures(
    methods: Sequence[str],
    pictures: Sequence[Path],
    vocabulary: Vocabulary,
    output: str | Path,
    *,
    weights: Sequence[str] = (),
    device: str = "auto",
    options: Sequence[str] = (),
    most: int = 6,
) -> Path:
    """Segment the same pictures with the same words by every method, one model at a time.

    Args:
        methods: what ``Predictor.from_config`` takes.
        pictures: files.
        vocabulary: the words.
        output: folder.
        weights: a checkpoint, or "", for each method; none: the methods' own.
        device: ``cpu``, ``cuda`` or ``auto``.
        options: KEY VALUE overrides of every method.
        most: pictures on the sheet at most, the first ones.

    Returns:
        ``<output>/sheet.png``: a row per picture, a column per method, the words that occur below.

    Raises:
        UserError: for a wrong method or picture, or if ``sheet.png`` is there already.
    """
    path = check_output_dir(output) / SHEET
    if path.exists():
        raise UserError(f"{path}: exists; choose another --output")
    pictures, present = list(pictures)[:most], np.zeros(len(vocabulary), dtype=bool)
    columns: list[list[np.ndarray]] = []
    with tqdm(total=len(methods) * len(pictures), unit="picture", disable=None) as bar:
        for method, file in zip(methods, weights or [""] * len(methods), strict=True):
            predictor = Predictor.from_config(method, weights=file, device=device, options=options)
            column: list[tuple[np.ndarray, np.ndarray]] = []
            for picture in pictures:
                result = predictor(load_picture(picture), vocabulary)
                present[np.unique(result.labels)] = True
                shown = result.overlay(legend=False)
                column.append((_cell(result.image, shown.shape), _cell(shown, shown.shape)))
                bar.update()
            columns = columns or [[image for image, _ in column]]
            columns.append([shown for _, shown in column])
    grid = sheet(list(zip(*columns, strict=True)), ["picture", *methods])
    named = [int(i) for i in np.flatnonzero(present) if i not in vocabulary.background_index]
    colors = palette(vocabulary.names)[named]
    words = legend([vocabulary.names[i] for i in named], colors, grid.shape[1], size=16)
    return save_picture(np.vstack([grid, words]), path, software=MAKER)


def _cell(picture: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Bring a picture to ``shape``, or smaller where that is larger than a cell."""
    height, width = shape[:2]
    factor = min(1, CELL / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
