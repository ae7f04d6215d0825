"""Rules that turn the values of label files into class indices.

A rule is one step, a table from stored values to new ones; a file may need several in a row (raw
COCO-Stuff -> 171 classes -> 27 groups). The same rules serve the preparation scripts, which write
the result, and the loaders of files that were not prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from ..errors import UserError
from ..words.class_lists import load_class_list

_BYTE, _SHORT = 256, 65536
_RULES: dict[str, Callable[[], np.ndarray]] = {}


def _rule(build: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    _RULES[build.__name__.strip("_")] = build
    return build


def _table(mapping: Mapping[int, int], *, size: int = _BYTE, other: int = 255) -> np.ndarray:
    table = np.full(size, other, dtype=np.uint16 if other > 255 else np.uint8)
    table[list(mapping)] = list(mapping.values())
    return table


def _all_bytes() -> dict[int, int]:
    return {value: value for value in range(_BYTE)}


@_rule
def _coco_stuff() -> np.ndarray:
    """``stuffthingmaps`` pixel -> index of 171; unlabelled pixels and unused ids are ignored."""
    return _table(load_class_list("coco_stuff_171").ids("raw_pixel"))


@_rule
def _coco_object() -> np.ndarray:
    """Index of 171 -> background 0 and things 1..80; all stuff and unlabelled pixels count as 0."""
    return _table({thing: thing + 1 for thing in range(80)}, other=0)


@_rule
def _coco_object_scored() -> np.ndarray:
    """Index of 171 -> things 0..79, background 80, as CLIPtrase scores it.

    Unlabelled pixels and class 80 (banner) count as background; the other stuff is not scored.
    """
    return _table({value: value for value in range(81)} | {255: 80})


@_rule
def _coco_27() -> np.ndarray:
    """Index of 171 -> one of 27 groups."""
    groups = load_class_list("coco_27").classes
    return _table({member: g for g, group in enumerate(groups) for member in group["members"]})


@_rule
def _zero_is_ignore() -> np.ndarray:
    """Raw 1..C -> 0..C-1; 0 (other, background) and 255 are ignored. ADE20K-150, VOC-20."""
    return _table({value: value - 1 for value in range(1, 255)})


@_rule
def _zero_is_20() -> np.ndarray:
    """VOC-20b: raw 1..20 -> 0..19, background 0 -> 20; the void border stays ignored."""
    return _table({value: value - 1 for value in range(1, 21)} | {0: 20})


@_rule
def _ignore_is_20() -> np.ndarray:
    """Index of 20 -> the same; every ignored pixel, the void border too, is background 20."""
    return _table(_all_bytes() | {255: 20})


@_rule
def _ignore_is_59() -> np.ndarray:
    """Index of 59 -> the same; every ignored pixel is background 59."""
    return _table(_all_bytes() | {255: 59})


@_rule
def _ignore_is_first() -> np.ndarray:
    """Ignored pixels -> class 0, index i -> i + 1. Context-59 to Context-60."""
    return _table({value: value + 1 for value in range(255)}, other=0)


@_rule
def _context_59() -> np.ndarray:
    """Id of the merged annotation (459-class space) -> index of 59; 0 and other ids ignored."""
    return _table(load_class_list("pascal_context_59").ids("raw_459_id"), size=_SHORT)


@_rule
def _context_459() -> np.ndarray:
    """``LabelMap`` value 1..459 -> 0..458, 0 -> 65535."""
    return _table({value: value - 1 for value in range(1, 460)}, size=_SHORT, other=65535)


@_rule
def _context_459_foreign() -> np.ndarray:
    """Prepared index of 459 -> the same; 459, which some converters write, means ignore."""
    return _table({value: value for value in range(459)}, size=_SHORT, other=65535)


@_rule
def _ade20k_847() -> np.ndarray:
    """Object id -> index of 847; objects outside the list are ignored."""
    return _table(load_class_list("ade20k_847").ids("object_id"), size=_SHORT, other=65535)


@_rule
def _coco_133() -> np.ndarray:
    """COCO panoptic category id -> index of 133."""
    return _table(load_class_list("coco_panoptic_133").ids("category_id"))


@_rule
def _cityscapes_27() -> np.ndarray:
    """``labelIds`` value 7..33 -> 0..26; smaller values and the licence plate are ignored."""
    return _table(load_class_list("cityscapes_27").ids("label_id"))


@_rule
def _cityscapes_19() -> np.ndarray:
    """``labelIds`` value -> train id."""
    return _table(load_class_list("cityscapes_19").ids("label_id"))


def rule_names() -> list[str]:
    """Names of all rules."""
    return sorted(_RULES)


@cache
def conversion_table(*rules: str) -> np.ndarray:
    """Give the table of some rules applied one after the other.

    Args:
        rules: names, in order; at least one.

    Returns:
        (256,) or (65536,) unsigned integers: new value of each stored value.
    """
    tables = [_RULES[name]() for name in rules]
    combined = tables[0]
    for table in tables[1:]:
        combined = table[combined]
    combined.setflags(write=False)
    return combined


def convert_labels(raw: np.ndarray, *rules: str) -> np.ndarray:
    """Apply rules to a label map.

    Args:
        raw: (H, W) unsigned integers as stored.
        rules: see ``conversion_table``; none leaves the map as it is.

    Returns:
        (H, W) uint8 or uint16.
    """
    if not rules:
        return raw
    table = conversion_table(*rules)
    if raw.dtype.itemsize > 1 and raw.size and not 0 <= raw.min() <= raw.max() < len(table):
        raise UserError(
            f"label values {int(raw.min())} to {int(raw.max())} do not fit the rule "
            f"{' > '.join(rules)}, which reads 0 to {len(table) - 1}"
        )
    return table[raw]
