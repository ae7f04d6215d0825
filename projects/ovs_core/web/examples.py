"""Example pictures: scenes of the embedded world with the words that fit them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.embedded import render_object, render_scene
from ..data.embedded.vocabulary import SEMANTIC_NAMES

SIZE = (384, 512)
_VALIDATION = 1_000_000  # seeds of pictures on which the embedded CLIP was not trained
# Three that are segmented mostly right without training, and two that are not.
_PICTURES = (
    (render_scene, 352), (render_object, 110), (render_scene, 439), (render_scene, 26),
    (render_scene, 10),
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A picture and words that a visitor can start from."""

    image: np.ndarray
    words: str


def draw_examples() -> list[Example]:
    """Draw the pictures; always the same ones."""
    scenes = [render(_VALIDATION + offset, SIZE) for render, offset in _PICTURES]
    return [Example(scene.image, _words(scene.segments_info)) for scene in scenes]


def write_examples(folder: Path) -> list[tuple[Path, str]]:
    """Write the pictures into a folder: file and words of each."""
    written = []
    for number, example in enumerate(draw_examples(), 1):
        path = folder / f"example{number}.png"
        Image.fromarray(example.image).save(path)
        written.append((path, example.words))
    return written


def _words(segments: list[dict]) -> str:
    names = [SEMANTIC_NAMES[s["category_id"]] for s in sorted(segments, key=lambda s: -s["area"])]
    return ", ".join(dict.fromkeys(names))
