"""What the labels of a whole dataset look like when they were stored for another program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..words.label_space import LabelSpace
from .findings import Finding


def label_hints(findings: Sequence[Finding], names: Sequence[str], space: LabelSpace) -> list[str]:
    """Say what about the labels of a dataset is known to be a mistake elsewhere.

    Args:
        findings: of all records.
        names: of the classes, K.
        space: what label values mean.

    Returns:
        One line each.
    """
    pixels: Counter[int] = Counter()
    for found in findings:
        pixels.update(dict(zip(found.values.tolist(), found.counts.tolist(), strict=True)))
    formats = Counter(found.label_format.split(" ")[0] for found in findings)
    return [
        *_masks(set(pixels), names, space),
        *_offset(set(pixels), space),
        *_formats(formats, names),
    ]


def _masks(values: set[int], names: Sequence[str], space: LabelSpace) -> list[str]:
    """0/255 masks of two classes: 255 is taken for the ignore value."""
    classes = sorted(v for v in values if 0 <= v < len(names))
    if len(names) < 2 or len(classes) > 1 or space.ignore_label not in values:
        return []
    only = f"'{names[classes[0]]}'" if classes else "no class"
    absent = [name for i, name in enumerate(names) if i not in classes]
    return [
        f"{only} occurs beside the ignore value {space.ignore_label}, so that nothing is left to "
        f"tell apart; if {space.ignore_label} means '{absent[0]}', store its class index instead"
    ]


def _offset(values: set[int], space: LabelSpace) -> list[str]:
    """Indices from 1 to K instead of 0 to K-1."""
    count = space.num_classes
    if count not in values or count == space.ignore_label:
        return []
    labels = values - {space.ignore_label}
    if max(labels) != count or min(labels) < 0:
        return []
    zero = "0 stands for what is not labelled" if 0 in labels else "0 never occurs"
    return [
        f"the label values go up to {count} where {count} classes have the indices 0..{count - 1}, "
        f"and {zero}: they look offset by one. With 'label_rule: zero_is_ignore' 1 is the first "
        "class and 0 is ignored"
    ]


def _formats(formats: Counter[str], names: Sequence[str]) -> list[str]:
    found = []
    if count := formats["1"]:
        second = f"'{names[1]}'" if len(names) > 1 else "no class"
        found.append(
            f"{count} label files have one bit per pixel: 0 is '{names[0]}', 1 is {second}"
        )
    if count := formats["P"]:
        found.append(
            f"{count} label files have a palette: the indices are the classes, the colours say "
            "nothing"
        )
    return found
