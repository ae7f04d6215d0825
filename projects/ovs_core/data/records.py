"""From a split on disk to Detectron2 dataset dicts.

Pictures and labels are paired by name, never by position in a sorted list, and whatever is left
over is an error: a silent shift by one picture would look like a bad model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .annotations import (
    ListedPicture,
    ListedSegment,
    PanopticAnnotation,
    PanopticSchema,
    read_annotations,
    refuse_faults,
)
from .sources import Source, files_by_key, first_ten, read_listing

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
        UserError: if a field of the JSON is wrong, or JSON and folders disagree.
    """
    path, folder = source.path_of("annotations"), source.path_of("segments")
    content = read_annotations(path, PanopticSchema)
    annotations = content.annotations
    keys = [a.file_name.removesuffix(source.segment_suffix) for a in annotations]
    segments = _by_base(folder, (source.segment_suffix,), source.recursive)
    images = _by_base(source.images, source.image_suffix, source.recursive)
    labels = _labels_by_base(source)
    stated = set(keys)
    unknown = set() if source.subset else segments.keys() - stated
    _refuse(
        _missing("panoptic PNG", folder, stated - segments.keys(), path),
        _missing("picture", source.images, stated - images.keys(), path),
        "" if labels is None else _missing("label", source.labels, stated - labels.keys(), path),
        f"{path}: has no annotation for {len(unknown)} files of {folder}: {first_ten(unknown)}"
        if unknown
        else "",
    )
    refuse_faults(path, _unknown_categories(annotations, categories))
    sizes = {picture.id: picture for picture in content.images}
    return [
        {
            "file_name": images[key],
            "image_id": annotation.image_id,
            "pan_seg_file_name": segments[key],
            "segments_info": [_segment(s, categories) for s in annotation.segments_info],
            "dataset_name": dataset_name,
            **({} if labels is None else _label_entries(source, labels[key])),
            **_stated_size(sizes.get(annotation.image_id)),
        }
        for key, annotation in zip(keys, annotations, strict=True)
    ]


def _unknown_categories(
    annotations: Sequence[PanopticAnnotation], categories: CategoryIds
) -> Iterator[str]:
    for place, annotation in enumerate(annotations):
        for number, segment in enumerate(annotation.segments_info):
            if segment.category_id not in categories.index:
                yield (
                    f"annotations[{place}].segments_info[{number}].category_id: "
                    f"{segment.category_id} is not in the class list"
                )


def _segment(segment: ListedSegment, categories: CategoryIds) -> Record:
    index = categories.index[segment.category_id]
    return {**segment.as_dict(), "category_id": index, "isthing": index in categories.things}


def _stated_size(picture: ListedPicture | None) -> dict[str, int]:
    if picture is None or picture.height is None or picture.width is None:
        return {}
    return {"height": picture.height, "width": picture.width}


def _label_entries(source: Source, path: str) -> Record:
    rule = {"label_rule": source.label_rule} if source.label_rule else {}
    return {"sem_seg_file_name": path, **rule}


def _missing(kind: str, folder: Path | None, keys: set[str], stated: Path | None = None) -> str:
    by = f", which {stated} names" if stated else ""
    what = f"{folder}: no {kind} file for {len(keys)} names: {first_ten(keys)}{by}"
    return what if keys else ""


def refuse_missing(folder: Path, keys: set[str], stated: Path) -> None:
    """Refuse pictures that an annotation file names and a folder lacks.

    Args:
        folder: of the pictures.
        keys: names that it lacks.
        stated: the annotation file.

    Raises:
        UserError: if there are any; quotes the first ten.
    """
    _refuse(_missing("picture", folder, keys, stated))


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
