"""From folders and annotation files on disk to Detectron2 dataset dicts.

Pictures and labels are paired by name, never by position in a sorted list, and whatever is left
over is an error: a silent shift by one picture would look like a bad model.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.listing import iter_files

Record = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where one split of a data set lies; paths are complete.

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


@dataclass(frozen=True)
class CategoryIds:
    """How category ids of an annotation file become class indices.

    Attributes:
        index: id -> class index.
        things: indices of countable classes.
        drop: ids that are known but left out (neither base nor novel).
    """

    index: Mapping[int, int]
    things: frozenset[int] = frozenset()
    drop: frozenset[int] = field(default_factory=frozenset)

    def of(self, category: int, path: Path) -> int:
        """Class index of an id.

        Raises:
            UserError: for an id that is not in the class list.
        """
        if category not in self.index:
            raise UserError(f"{path}: category_id {category} is not in the class list")
        return self.index[category]


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


def semantic_records(source: Source, *, dataset_name: str) -> list[Record]:
    """Pair a folder of pictures with a folder of semantic labels.

    Args:
        source: with ``images`` and ``labels``.
        dataset_name: written into each record.

    Returns:
        One dict per pair: ``file_name``, ``sem_seg_file_name``, ``image_id``, ``dataset_name`` and,
        if the files need one, ``label_rule``.

    Raises:
        UserError: if a picture lacks its label or a label its picture (lists the first ten).
    """
    images = files_by_key(source.images, source.image_suffix, recursive=source.recursive)
    labels = files_by_key(source.labels, (source.label_suffix,), recursive=source.recursive)
    keys = read_listing(source.listing) if source.listing else list(labels)
    wanted = set(keys)
    need_label = wanted if source.listing or source.subset else set(images)
    problems = _leftovers("label", source.labels, need_label - labels.keys())
    problems += _leftovers("picture", source.images, wanted - images.keys())
    if not images or not labels:
        what, where = ("picture", source.images) if not images else ("label", source.labels)
        suffix = " or ".join(source.image_suffix) if not images else source.label_suffix
        raise UserError(f"{where}: holds no {what} file (*{suffix})")
    if problems:
        raise UserError("; ".join(problems))
    rule = {"label_rule": source.label_rule} if source.label_rule else {}
    return [
        {
            "file_name": images[key],
            "sem_seg_file_name": labels[key],
            "image_id": key,
            "dataset_name": dataset_name,
            **rule,
        }
        for key in keys
    ]


def read_listing(path: Path) -> list[str]:
    """Read the keys of a split file, one per line (a second column is ignored).

    Raises:
        UserError: if it cannot be read, is empty or names a picture twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the list of pictures ({error})") from error
    keys = [line.split()[0] for line in lines if line.strip()]
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    if not keys or repeated:
        what = f"names {first_ten(repeated)} more than once" if repeated else "names no picture"
        raise UserError(f"{path}: {what}")
    return keys


def _leftovers(kind: str, folder: Path, keys: set[str]) -> list[str]:
    if not keys:
        return []
    return [f"{folder}: no {kind} file for {len(keys)} names: {first_ten(keys)}"]


def read_json(path: Path) -> dict[str, Any]:
    """Read an annotation file.

    Raises:
        UserError: if it is missing, broken, or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot read the annotation file ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not an annotation file; expected a JSON object")
    return content


def panoptic_records(source: Source, *, dataset_name: str, categories: CategoryIds) -> list[Record]:
    """Read a panoptic JSON with its PNGs.

    Args:
        source: with ``images``, ``annotations``, ``segments`` and maybe ``labels``.
        dataset_name: written into each record.
        categories: ids of the JSON.

    Returns:
        One dict per picture: ``file_name``, ``image_id``, ``pan_seg_file_name``, ``segments_info``
        (``category_id`` is the class index), ``sem_seg_file_name`` if there are labels, size if
        known.

    Raises:
        UserError: if JSON and folders disagree or an image id occurs twice.
    """
    content = read_json(source.annotations)
    annotations = _list_of(content, "annotations", source.annotations)
    _refuse_repeated((a["image_id"] for a in annotations), source.annotations)
    key_of = {
        a["image_id"]: a["file_name"].removesuffix(source.segment_suffix) for a in annotations
    }
    segments = _by_base(source.segments, (source.segment_suffix,), source.recursive)
    images = _by_base(source.images, source.image_suffix, source.recursive)
    labels = _labels_by_base(source)
    stated = set(key_of.values())
    problems = _leftovers("panoptic PNG", source.segments, stated - segments.keys())
    problems += _leftovers("picture", source.images, stated - images.keys())
    if labels is not None:
        problems += _leftovers("label", source.labels, stated - labels.keys())
    unknown = set() if source.subset else segments.keys() - stated
    if unknown:
        problems.append(
            f"{source.annotations}: has no annotation for {len(unknown)} files of "
            f"{source.segments}: "
            f"{first_ten(unknown)}"
        )
    if problems:
        raise UserError("; ".join(problems))
    sizes = {i["id"]: i for i in content.get("images", ()) if "height" in i}
    records = []
    for annotation in annotations:
        image_id, key = annotation["image_id"], key_of[annotation["image_id"]]
        record: Record = {
            "file_name": images[key],
            "image_id": image_id,
            "pan_seg_file_name": segments[key],
            "segments_info": _segments(annotation, categories, source.annotations),
            "dataset_name": dataset_name,
        }
        if labels is not None:
            record["sem_seg_file_name"] = labels[key]
            if source.label_rule:
                record["label_rule"] = source.label_rule
        if image_id in sizes:
            record |= {side: int(sizes[image_id][side]) for side in ("height", "width")}
        records.append(record)
    return records


def _segments(annotation: Mapping[str, Any], categories: CategoryIds, path: Path) -> list[Record]:
    segments = []
    for segment in annotation["segments_info"]:
        index = categories.of(segment["category_id"], path)
        segments.append({**segment, "category_id": index, "isthing": index in categories.things})
    return segments


def instance_records(
    source: Source,
    *,
    dataset_name: str,
    categories: CategoryIds,
    hide: frozenset[int] = frozenset(),
) -> list[Record]:
    """Read a COCO instance JSON.

    Args:
        source: with ``images`` and ``annotations``.
        dataset_name: written into each record.
        categories: ids of the JSON; boxes of ``drop`` ids are left out.
        hide: class indices whose boxes are left out (unseen classes in training).

    Returns:
        One dict per picture of the JSON, with ``annotations`` in Detectron2's form.

    Raises:
        UserError: if an image id occurs twice, a picture is missing or a category is unknown.
    """
    from detectron2.structures import BoxMode

    content = read_json(source.annotations)
    pictures = _list_of(content, "images", source.annotations)
    _refuse_repeated((p["id"] for p in pictures), source.annotations)
    files = files_by_key(source.images, ("",), recursive=source.recursive)
    missing = {p["file_name"] for p in pictures} - files.keys()
    if missing:
        raise UserError("; ".join(_leftovers("picture", source.images, missing)))
    records = {
        p["id"]: {
            "file_name": files[p["file_name"]],
            "image_id": p["id"],
            "height": int(p["height"]),
            "width": int(p["width"]),
            "annotations": [],
            "dataset_name": dataset_name,
        }
        for p in pictures
    }
    for annotation in content.get("annotations", ()):
        if annotation["image_id"] not in records:
            raise UserError(
                f"{source.annotations}: annotation {annotation.get('id')} belongs to image "
                f"{annotation['image_id']}, which the file does not list"
            )
        if annotation["category_id"] in categories.drop:
            continue
        index = categories.of(annotation["category_id"], source.annotations)
        if index not in hide:
            kept = {k: annotation[k] for k in ("bbox", "area", "segmentation") if k in annotation}
            box = {"bbox_mode": BoxMode.XYWH_ABS, "iscrowd": annotation.get("iscrowd", 0)}
            records[annotation["image_id"]]["annotations"].append(
                {**kept, **box, "category_id": index}
            )
    return list(records.values())


def _by_base(folder: Path, suffixes: Sequence[str], recursive: bool) -> dict[str, str]:
    return {k.rpartition("/")[2]: p
            for k, p in files_by_key(folder, suffixes, recursive=recursive).items()}  # fmt: skip


def _labels_by_base(source: Source) -> dict[str, str] | None:
    if source.labels is None or (source.labels_optional and not source.labels.is_dir()):
        return None
    return _by_base(source.labels, (source.label_suffix,), source.recursive)


def _list_of(content: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    if not isinstance(content.get(key), list) or not content[key]:
        raise UserError(f"{path}: has no list '{key}'; is it the annotation file of this data set?")
    return content[key]


def _refuse_repeated(ids: Iterable[object], path: Path) -> None:
    repeated = [i for i, count in Counter(ids).items() if count > 1]
    if repeated:
        raise UserError(f"{path}: image ids occur more than once: {first_ten(repeated)}")
