"""Class lists, seen/unseen splits, prompt templates and background words of the benchmarks.

The facts are JSON files beside this module. A class list holds one object per class, in the order
of the class indices. A list may stand on another one (``base``): its first ``keep`` classes with a
background class put first or last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import check_choice

FOLDER = Path(__file__).resolve().parent / "lists"
_SHARED = ("splits", "templates", "background_words")


@dataclass(frozen=True)
class ClassList:
    """The classes of a benchmark.

    Attributes:
        name: file stem, for example ``coco_stuff_171``.
        title: for reports.
        ignore_label: value of unlabelled pixels in prepared label files.
        classes: K objects with ``name`` and whatever else is known: ids in the raw labels,
            ``isthing``, ``color``, other spellings (``catseg_name``), ``fcclip_synonyms``.
        background: index of the background class, or None.
    """

    name: str
    title: str
    ignore_label: int
    classes: tuple[Mapping[str, Any], ...]
    background: int | None = None

    def __len__(self) -> int:
        """Number of classes K."""
        return len(self.classes)

    @property
    def names(self) -> list[str]:
        """Display names, K, unique."""
        return [entry["name"] for entry in self.classes]

    @property
    def colors(self) -> list[list[int]]:
        """RGB colours, K; classes without a published one get one of the VOC table."""
        return [list(c.get("color") or voc_color(i)) for i, c in enumerate(self.classes)]

    @property
    def things(self) -> list[int]:
        """Indices of the countable classes; empty where the benchmark makes no such difference."""
        return [index for index, entry in enumerate(self.classes) if entry.get("isthing")]

    def texts(self, field: str = "name") -> list[str]:
        """One text per class: ``field``, or the name of a class that has no such field.

        A list states another spelling only where it differs from the name; ``catseg_name``, for
        one, differs in two lists and is the name in all others.

        Raises:
            UserError: if no class of any list has the field.
        """
        check_choice(f"field of class list '{self.name}'", field, _known_fields())
        return [entry.get(field, entry["name"]) for entry in self.classes]

    def synonyms(self, field: str, *, single: str = "name") -> list[list[str]]:
        """A list of texts per class: ``field``, or the one text of ``single`` where it is not.

        Raises:
            UserError: if no class of any list has the field.
        """
        check_choice(f"field of class list '{self.name}'", field, _known_fields())
        texts = self.texts(single)
        return [
            list(entry.get(field, [text])) for entry, text in zip(self.classes, texts, strict=True)
        ]

    def ids(self, field: str) -> dict[int, int]:
        """Map an id of the raw labels (``category_id``, ``raw_pixel``, ...) to the class index."""
        return {c[field]: i for i, c in enumerate(self.classes) if c.get(field) is not None}


@dataclass(frozen=True)
class Split:
    """Which classes are trained on (``seen``) and which are not (``unseen``), as class indices."""

    seen: tuple[int, ...]
    unseen: tuple[int, ...]


def class_list_names() -> list[str]:
    """Names of all class lists."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if path.stem not in _SHARED)


@cache
def load_class_list(name: str) -> ClassList:
    """Give the classes of a benchmark.

    Args:
        name: one of ``class_list_names()``.

    Raises:
        UserError: for an unknown name.
    """
    check_choice("class list", name, class_list_names())
    content = _read(name)
    if "base" in content:
        return _derive(name, content)
    ignore = content.get("ignore_label", 255)
    return ClassList(name, content["title"], ignore, tuple(content["classes"]))


def load_split(name: str) -> Split | None:
    """Give the seen/unseen split of a class list, or None if it has none.

    Classes are matched by name, so a list with a background class has it too, and counts the
    background as seen. Where the split names both sides (COCO detection 48/17), other classes are
    in neither.

    Args:
        name: class list, or ``pascal_voc_20/novel_2`` (4, 6, 8, 10) for the ZS3 splits of VOC.
    """
    list_name = name.partition("/")[0]
    classes = load_class_list(list_name)
    stated = _read("splits").get(name)
    if stated is None and classes.background is not None:
        stated = _read("splits").get(_read(list_name)["base"])
    names = classes.names
    if stated is None or not set(stated["unseen"]) <= set(names):
        return None
    seen = stated.get("seen", [n for n in names if n not in stated["unseen"]])
    return Split(*(tuple(sorted(map(names.index, side))) for side in (seen, stated["unseen"])))


def load_templates(name: str) -> list[str]:
    """Give a published list of prompt templates; each holds one ``{}``.

    Raises:
        UserError: for an unknown name.
    """
    return _shared("templates", "template list", name)


def load_background_words(name: str) -> list[str]:
    """Give a published list of words that stand for background.

    Raises:
        UserError: for an unknown name.
    """
    return _shared("background_words", "list of background words", name)


def voc_color(index: int) -> list[int]:
    """RGB of an index in the PASCAL VOC table: the bits of the index spread over the channels."""
    return [sum((index >> (3 * bit + c) & 1) << (7 - bit) for bit in range(8)) for c in range(3)]


@cache
def _known_fields() -> list[str]:
    lists = map(load_class_list, class_list_names())
    return sorted({field for listed in lists for entry in listed.classes for field in entry})


def _derive(name: str, content: Mapping[str, Any]) -> ClassList:
    base = load_class_list(content["base"])
    kept = base.classes[: content.get("keep", len(base))]
    stated = content["background"]
    background = {"name": "background", "color": stated["color"]}
    background |= {f: load_background_words(words) for f, words in stated.get("words", {}).items()}
    first = stated["position"] == "first"
    classes = (background, *kept) if first else (*kept, background)
    place = 0 if first else len(kept)
    return ClassList(name, content["title"], base.ignore_label, classes, background=place)


def _shared(file: str, kind: str, name: str) -> list[str]:
    lists = _read(file)
    check_choice(kind, name, sorted(lists))
    return list(lists[name])


@cache
def _read(stem: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{stem}.json").read_text(encoding="utf-8"))
    return content
