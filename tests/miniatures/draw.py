"""Small pictures and files that all miniatures share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 16


def write_picture(
    path: Path, seed: int, *, size: tuple[int, int] = (HEIGHT, WIDTH), mode: str = "RGB"
) -> None:
    """Write noise as a picture; ``L`` is as common among COCO's JPEGs as in real life."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)


def write_ids(path: Path, ids: np.ndarray, *, palette: bool = False) -> None:
    """Write ids as a one-channel file: PNG (``L``, or ``P`` with VOC's colours) or uint16 TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(ids)
    if palette:
        picture.putpalette(voc_palette())
    picture.save(path)


def voc_palette() -> list[int]:
    """The colour table of VOC, flat, 256 colours."""
    table = np.zeros((256, 3), np.int64)
    for index in range(256):
        value = index
        for bit in range(7, -1, -1):
            table[index] |= [(value & 1) << bit, (value >> 1 & 1) << bit, (value >> 2 & 1) << bit]
            value >>= 3
    return table.ravel().tolist()


def write_rgb(path: Path, array: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def segment_colours(ids: np.ndarray) -> np.ndarray:
    """Panoptic ids as colours, written out channel by channel."""
    colours = np.zeros((*ids.shape, 3), np.uint8)
    for channel in range(3):
        colours[..., channel] = ids // 256**channel % 256
    return colours


def write_json(path: Path, content: dict) -> None:
    """Write an annotation file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a list of names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def stripes(values: list[int], dtype: type = np.uint8) -> np.ndarray:
    """A (HEIGHT, WIDTH) map of vertical stripes, left to right."""
    columns = np.array(values, dtype)[np.arange(WIDTH) * len(values) // WIDTH]
    return np.repeat(columns[None], HEIGHT, axis=0)
