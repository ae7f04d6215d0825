"""Example pictures: scenes of the embedded world with the words that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..data.embedded import render_object, render_scene
from ..data.embedded.vocabulary import SEMANTIC_NAMES
from .viewer import data_uri

SIZE = (384, 512)
THUMBNAIL = (171, 128)  # width and height in pixels
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
