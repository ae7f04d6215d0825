"""Several methods on a person's pictures: one sheet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..draw import legend, palette, remark, sheet
from ..errors import UserError
from ..files.pictures import load_picture
from ..files.writing import check_output_dir, save_picture
from ..words.vocabulary import Vocabulary
from .parts import MAKER, SHEET
from .predictor import Predictor
from .result import Result
from .stream import failure_line

logger = logging.getLogger(__name__)

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
    rules: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Path, list[str]]:
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
        rules: what ``Predictor.from_config`` takes of ``Rules``, by name.

    Returns:
        ``<output>/sheet.png``: a row per picture, a column per method, the words that occur below;
        and a line for each picture that cannot be segmented and is not on it.

    Raises:
        UserError: for a wrong method, if no picture can be segmented, or if ``sheet.png`` is there
            already.
    """
    path = check_output_dir(output) / SHEET
    if path.exists():
        raise UserError(f"{path}: exists; choose another --output")
    rows = {picture: _Row() for picture in list(pictures)[:most]}
    failures: list[str] = []
    with tqdm(total=len(methods) * len(rows), unit="picture", disable=None) as bar:
        for method, file in zip(methods, weights or [""] * len(methods), strict=True):
            predictor = Predictor.from_config(
                method, weights=file, device=device, options=options, **rules
            )
            for picture, row in list(rows.items()):
                try:
                    row.add(predictor(load_picture(picture), vocabulary))
                except Exception as error:  # whatever it is, the other pictures are not to blame
                    failures.append(failure_line(str(picture), error))
                    del rows[picture]
                bar.update()
    if not rows:
        raise UserError(f"none of the pictures can be segmented; {failures[0]}")
    present = set[int]().union(*(row.present for row in rows.values()))
    grid = sheet([row.cells for row in rows.values()], ["picture", *methods])
    named = sorted(present - set(vocabulary.background_index))
    colors = palette(vocabulary.names)[named]
    words = legend([vocabulary.names[i] for i in named], colors, grid.shape[1], size=16)
    parts = [grid, words]
    foreign = [one for one in rows.values() if one.out_of_world]
    if foreign:
        text = f"{len(foreign)} of {len(rows)} pictures: {foreign[0].out_of_world}"
        logger.warning(text)
        parts.append(remark(text, grid.shape[1], size=16))
    return save_picture(np.vstack(parts), path, software=MAKER), failures


@dataclass
class _Row:
    """A picture on the sheet: its cells, and the indices of the words that occur in it.

    ``out_of_world`` is that of the results, see ``Result``.
    """

    cells: list[np.ndarray] = field(default_factory=list)
    present: set[int] = field(default_factory=set)
    out_of_world: str = ""

    def add(self, result: Result) -> None:
        """Add the cell of one more method, behind that of the picture."""
        shown = result.overlay(legend=False)
        if not self.cells:
            self.cells.append(_cell(result.image, shown.shape))
        self.cells.append(_cell(shown, shown.shape))
        self.out_of_world = self.out_of_world or result.out_of_world
        self.present |= {int(index) for index in np.unique(result.labels)}


def _cell(picture: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Bring a picture to ``shape``, or smaller where that is larger than a cell."""
    height, width = shape[:2]
    factor = min(1, CELL / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
