"""From a split on disk to Detectron2 dataset dicts.

Pictures and labels are paired by name, never by position in a sorted list, and whatever is left
over is an error: a silent shift by one picture would look like a bad model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .sources import Source, files_by_key, first_ten, read_json, read_listing

Record = dict[str, Any]


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
    folder = source.path_of("labels")
    images = files_by_key(source.images, source.image_suffix, recursive=source.recursive)
    labels = files_by_key(folder, (source.label_suffix,), recursive=source.recursive)
    for what, where, found, suffixes in (
        ("picture", source.images, images, source.image_suffix),
        ("label", folder, labels, (source.label_suffix,)),
    ):
        if not found:
            raise UserError(f"{where}: holds no {what} file (*{' or '.join(suffixes)})")
    keys = list(labels)
    if source.listing:
        ends = (*source.image_suffix, source.label_suffix)
        keys = read_listing(source.listing, images.keys() | labels.keys(), ends)
    wanted = set(keys)
    need_label = wanted if source.listing or source.subset else set(images)
    _refuse(
        _missing("label", folder, need_label - labels.keys()),
        _missing("picture", source.images, wanted - images.keys()),
    )
    return [
        {
            "file_name": images[key],
            **_label_entries(source, labels[key]),
            "image_id": key,
            "dataset_name": dataset_name,
        }
        for key in keys
    ]


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
    path, folder = source.path_of("annotations"), source.path_of("segments")
    content = read_json(path)
    annotations = _list_of(content, "annotations", path)
    _refuse_repeated((a["image_id"] for a in annotations), path)
    keys = [a["file_name"].removesuffix(source.segment_suffix) for a in annotations]
    segments = _by_base(folder, (source.segment_suffix,), source.recursive)
    images = _by_base(source.images, source.image_suffix, source.recursive)
    labels = _labels_by_base(source)
    stated = set(keys)
    unknown = set() if source.subset else segments.keys() - stated
    _refuse(
        _missing("panoptic PNG", folder, stated - segments.keys()),
        _missing("picture", source.images, stated - images.keys()),
        "" if labels is None else _missing("label", source.labels, stated - labels.keys()),
        f"{path}: has no annotation for {len(unknown)} files of {folder}: {first_ten(unknown)}"
        if unknown
        else "",
    )
    sizes = {i["id"]: i for i in content.get("images", ()) if "height" in i}
    records = []
    for key, annotation in zip(keys, annotations, strict=True):
        size = sizes.get(annotation["image_id"])
        records.append(
            {
                "file_name": images[key],
                "image_id": annotation["image_id"],
                "pan_seg_file_name": segments[key],
                "segments_info": _segments(annotation, categories, path),
                "dataset_name": dataset_name,
                **({} if labels is None else _label_entries(source, labels[key])),
                **({} if size is None else {k: int(size[k]) for k in ("height", "width")}),
            }
        )
    return records


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
    path = source.path_of("annotations")
    content = read_json(path)
    pictures = _list_of(content, "images", path)
    _refuse_repeated((p["id"] for p in pictures), path)
    files = files_by_key(source.images, ("",), recursive=source.recursive)
    _refuse(_missing("picture", source.images, {p["file_name"] for p in pictures} - files.keys()))
    boxes: dict[Any, list[Record]] = {p["id"]: [] for p in pictures}
    for annotation in content.get("annotations", ()):
        image_id = annotation["image_id"]
        if image_id not in boxes:
            raise UserError(
                f"{path}: annotation {annotation.get('id')} belongs to image {image_id}, which "
                "the file does not list"
            )
        if annotation["category_id"] in categories.drop:
            continue
        index = categories.of(annotation["category_id"], path)
        if index not in hide:
            boxes[image_id].append(_box(annotation, index))
    return [
        {
            "file_name": files[p["file_name"]],
            "image_id": p["id"],
            "height": int(p["height"]),
            "width": int(p["width"]),
            "annotations": boxes[p["id"]],
            "dataset_name": dataset_name,
        }
        for p in pictures
    ]


def _box(annotation: Mapping[str, Any], index: int) -> Record:
    from detectron2.structures import BoxMode  # preparing datasets needs no Detectron2

    kept = {k: annotation[k] for k in ("bbox", "area", "segmentation") if k in annotation}
    crowd = annotation.get("iscrowd", 0)
    return {**kept, "bbox_mode": BoxMode.XYWH_ABS, "iscrowd": crowd, "category_id": index}


def _segments(annotation: Mapping[str, Any], categories: CategoryIds, path: Path) -> list[Record]:
    segments = []
    for segment in annotation["segments_info"]:
        index = categories.of(segment["category_id"], path)
        segments.append({**segment, "category_id": index, "isthing": index in categories.things})
    return segments


def _label_entries(source: Source, path: str) -> Record:
    rule = {"label_rule": source.label_rule} if source.label_rule else {}
    return {"sem_seg_file_name": path, **rule}


def _missing(kind: str, folder: Path | None, keys: set[str]) -> str:
    return f"{folder}: no {kind} file for {len(keys)} names: {first_ten(keys)}" if keys else ""


def _refuse(*problems: str) -> None:
    if found := [problem for problem in problems if problem]:
        raise UserError("; ".join(found))


def _by_base(folder: Path, suffixes: Sequence[str], recursive: bool) -> dict[str, str]:
    """Files by their name alone: annotation files do not tell the sub-folder."""
    found = files_by_key(folder, suffixes, recursive=recursive)
    return {key.rpartition("/")[2]: path for key, path in found.items()}


def _labels_by_base(source: Source) -> dict[str, str] | None:
    if source.labels is None or (source.labels_optional and not source.labels.is_dir()):
        return None
    return _by_base(source.labels, (source.label_suffix,), source.recursive)


def _list_of(content: Mapping[str, Any], key: str, path: Path) -> list[Record]:
    listed = content.get(key)
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path}: has no list '{key}'; is it the annotation file of this dataset?")
    return listed


def _refuse_repeated(ids: Iterable[object], path: Path) -> None:
    repeated = [i for i, count in Counter(ids).items() if count > 1]
    if repeated:
        raise UserError(f"{path}: image ids occur more than once: {first_ten(repeated)}")
