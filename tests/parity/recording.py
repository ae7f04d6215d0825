"""The header of a reference file, which knows what has been read of it.

A runner that never asks for a setting of its file cannot have used it: the file then proves less
than it says, and would pass under another value as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Keys that tell a reader something; no result depends on them.
DESCRIPTIVE = frozenset({
    "arrays", "arrays_doc", "definitions", "derived_by_hand", "dropout", "family", "formula",
    "formulas", "grads", "group", "identities", "input_note", "kind", "layout", "layouts", "loss",
    "made_with", "note", "notes", "order", "outputs", "recipe", "runner", "shapes", "shared",
    "seed", "source", "title", "tolerance", "units", "upstream", "versions", "what",
    # How the weights and inputs that stand in the file were drawn, and what else was stored.
    "attn_gain", "image", "ls_clip", "ls_in", "mask_gain", "query_gain",
    "smallest_threshold_margin", "store_all_attn", "store_up", "subsampling",
})  # fmt: skip
# Sizes of arrays that stand in the same file; a runner takes them from the arrays.
SHAPES = frozenset({
    "B", "C", "H", "Q", "T", "W", "batch", "feature_resolution", "feature_sizes", "gt_hw", "h",
    "hw", "label_size", "mask_hw", "mf", "ms", "n", "n_gt", "n_images", "student_grid",
    "token_grid", "w",
})  # fmt: skip


class Recorded(dict):
    """A JSON object that records which of its keys have been read.

    A key counts as read when its value is given out: by ``[]``, ``get``, ``items``, ``values``,
    ``pop``, ``copy``, ``|`` or by unpacking. Asking whether a key exists is no reading.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__({key: recorded(value) for key, value in values.items()})
        self.was_read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.was_read.add(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:  # also makes dict(x) and {**x} ask for every value
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default

    def items(self) -> list[tuple[str, Any]]:  # type: ignore[override]
        return [(key, self[key]) for key in self]

    def values(self) -> list[Any]:  # type: ignore[override]
        return [self[key] for key in self]

    def pop(self, key: str, *default: Any) -> Any:
        self.was_read.add(key)
        return super().pop(key, *default)

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __or__(self, other: dict) -> dict:
        return {**self, **other}

    def __ror__(self, other: dict) -> dict:
        return {**other, **self}

    def raw(self, key: str) -> Any:
        """Give a value without counting it as read."""
        return super().__getitem__(key)


def recorded(value: Any) -> Any:
    """Make every object inside of a JSON value a recording one."""
    if isinstance(value, dict):
        return Recorded(value)
    return [recorded(one) for one in value] if isinstance(value, list) else value


def unread(value: Any, place: str = "") -> Iterator[str]:
    """Name what nothing has asked for, as ``model.width`` or ``cases[1].eps``."""
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from unread(one, f"{place}[{index}]")
    if not isinstance(value, Recorded):
        return
    for key in value:
        name = f"{place}.{key}" if place else key
        if key in DESCRIPTIVE or (key in SHAPES and key not in value.was_read):
            continue
        if key in value.was_read:
            yield from unread(value.raw(key), name)
        else:
            yield name
