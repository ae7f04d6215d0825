"""Example pictures with words that fit: scenes of the embedded world, and photographs.

The photographs are those that scikit-learn and matplotlib carry; where a package is not installed,
its pictures are left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.embedded import render_object, render_scene
from ..data.embedded.vocabulary import SEMANTIC_NAMES
from .viewer import data_uri

COUNT = 5
SIZE = (384, 512)
THUMBNAIL = (171, 128)  # width and height in pixels
_VALIDATION = 1_000_000  # seeds of pictures on which the embedded CLIP was not trained
# Three that are segmented mostly right without training, and two that are not.
_PICTURES = (
    (render_scene, 352), (render_object, 110), (render_scene, 439), (render_scene, 26),
    (render_scene, 10),
)  # fmt: skip
# Package, file in it, words.
_PHOTOGRAPHS = (
    ("sklearn", "datasets/images/china.jpg", "temple|pagoda, sky, tree, people, pavement"),
    ("sklearn", "datasets/images/flower.jpg", "flower, leaf|leaves, background: shadow"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "woman, uniform, cap, flag"),
)


@dataclass(frozen=True)
class Example:
    """A picture and words that a visitor can start from."""

    image: np.ndarray
    words: str


def draw_examples(*, photographs: bool = False) -> list[Example]:
    """Draw the pictures; always the same ones.

    Args:
        photographs: whether photographs come first, in place of some of the scenes.
    """
    found = find_photographs() if photographs else []
    scenes = [render(_VALIDATION + offset, SIZE) for render, offset in _PICTURES]
    drawn = [Example(scene.image, _words(scene.segments_info)) for scene in scenes]
    return [*found, *drawn][:COUNT]


def find_photographs() -> list[Example]:
    """Look for the photographs in the packages that have them."""
    found = []
    for package, file, words in _PHOTOGRAPHS:
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / file if spec and spec.origin else None
        if path is not None and path.is_file():
            picture = Image.open(path).convert("RGB")
            picture.thumbnail((SIZE[1], SIZE[1]))
            found.append(Example(np.asarray(picture), words))
    return found


def thumbnail_style(examples: Sequence[Example]) -> str:
    """Write CSS that puts the pictures on the buttons ``#ovs-example-1``, ``-2``, ...

    They are part of the page and no files, because gradio deletes files that have been served.
    """
    rules = []
    for number, example in enumerate(examples, 1):
        small = Image.fromarray(example.image).resize(THUMBNAIL, Image.Resampling.BOX)
        rules.append(
            f"#ovs-example-{number} {{ background-image: url({data_uri(small, 'JPEG')}); }}"
        )
    return "\n".join(rules)


def _words(segments: list[dict]) -> str:
    names = [SEMANTIC_NAMES[s["category_id"]] for s in sorted(segments, key=lambda s: -s["area"])]
    return ", ".join(dict.fromkeys(names))
