"""Where a split of a dataset lies on disk, and reading its folders, lists and JSON files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..files.json_files import parse_json
from ..files.listing import iter_files


@dataclass(frozen=True)
class Source:
    """Where one split of a dataset lies; paths are complete.

    Attributes:
        images: folder of the pictures.
        image_suffix: what a picture's name adds to its key (several may be allowed).
        labels: folder of semantic label files, or None.
        label_suffix: what a label file's name adds to the key.
        label_rule: rules of ``label_rules.py`` that turn stored values into class indices.
        listing: text file with one key per line; others are left out.
        recursive: whether pictures and labels lie in sub-folders (Cityscapes).
        subset: whether pictures without a label are left out instead of refused.
        annotations: COCO or panoptic JSON.
        segments: folder of panoptic PNGs.
        segment_suffix: what a panoptic PNG's name adds to the key.
        labels_optional: a panoptic set may do without semantic labels.
    """

    images: Path
    image_suffix: tuple[str, ...] = (".jpg",)
    labels: Path | None = None
    label_suffix: str = ".png"
    label_rule: tuple[str, ...] = ()
    listing: Path | None = None
    recursive: bool = False
    subset: bool = False
    annotations: Path | None = None
    segments: Path | None = None
    segment_suffix: str = ".png"
    labels_optional: bool = False

    def required(self) -> list[Path]:
        """Files and folders that must exist."""
        labels = None if self.labels_optional else self.labels
        stated = (self.images, labels, self.annotations, self.segments, self.listing)
        return [path for path in stated if path is not None]

    def path_of(self, what: Literal["labels", "annotations", "segments"]) -> Path:
        """Give a path that this kind of dataset cannot do without.

        Raises:
            UserError: if it is not stated.
        """
        path: Path | None = getattr(self, what)
        if path is None:
            raise UserError(f"{self.images}: the dataset of these pictures states no '{what}'")
        return path


def first_ten(names: Iterable[object]) -> str:
    """Quote at most ten of some names and say how many more there are."""
    listed = sorted(map(str, names))
    return ", ".join(listed[:10]) + (f", ... ({len(listed) - 10} more)" if len(listed) > 10 else "")


def files_by_key(
    folder: Path, suffixes: Sequence[str], *, recursive: bool = False
) -> dict[str, str]:
    """Index the files of a folder by their name without suffix.

    Args:
        folder: where to look.
        suffixes: accepted ends of the name, in small or capital letters; the longest that fits is
            cut off.
        recursive: look into sub-folders; the key then holds the relative path.

    Returns:
        Key -> path, in the order of the keys.

    Raises:
        UserError: if the folder is missing, or two files have one key.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found: dict[str, str] = {}
    ordered = sorted(suffixes, key=len, reverse=True)
    for path in iter_files(folder, suffixes, recursive=recursive):
        suffix = next(s for s in ordered if path.lower().endswith(s.lower()))
        key = os.path.relpath(path, folder).replace(os.sep, "/")
        key = key[: len(key) - len(suffix)]
        if key in found:
            raise UserError(f"{folder}: '{key}' occurs twice ({found[key]} and {path}); keep one")
        found[key] = path
    return dict(sorted(found.items()))


def files_of_keys(folder: Path, suffix: str, keys: Iterable[str]) -> dict[str, str]:
    """Find the file of each key in a folder, see ``files_by_key``.

    Raises:
        UserError: if the folder or a file is missing.
    """
    found, wanted = files_by_key(folder, (suffix,)), list(keys)
    if missing := set(wanted) - found.keys():
        raise UserError(f"{folder}: no *{suffix} for {len(missing)} names: {first_ten(missing)}")
    return {key: found[key] for key in wanted}


def read_listing(path: Path, known: Container[str] = (), suffixes: Sequence[str] = ()) -> list[str]:
    """Read the keys of a split file, one per line.

    Args:
        path: the file.
        known: keys that there are. A line is one of them as a whole, blanks included, or without
            the end of a file's name; else its first column is, as other columns say nothing.
        suffixes: ends of file names that a line may have.

    Raises:
        UserError: if it cannot be read, is empty or names a picture twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the list of pictures ({error})") from error
    keys = [_key_of_line(line.strip(), known, suffixes) for line in lines if line.strip()]
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    if not keys or repeated:
        what = f"names {first_ten(repeated)} more than once" if repeated else "names no picture"
        raise UserError(f"{path}: {what}")
    return keys


def _key_of_line(line: str, known: Container[str], suffixes: Sequence[str]) -> str:
    first = line.split()[0]
    ends = sorted((suffix.lower() for suffix in suffixes if suffix), key=len, reverse=True)
    for text in (line, first):
        cut = next((text[: -len(end)] for end in ends if text.lower().endswith(end)), text)
        for key in (text, cut):
            if key in known:
                return key
    return first


def read_json(path: Path) -> dict[str, Any]:
    """Read an annotation file.

    Raises:
        UserError: if it is missing, broken, or no JSON object.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no JSON, ...
        raise UserError(f"{path}: cannot read the annotation file ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not an annotation file; expected a JSON object")
    return content
