"""Looking a registered dataset over before it is trained on or scored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from PIL import Image
from tabulate import tabulate
from tqdm import tqdm

from ..errors import UserError
from ..files.pictures import read_header, read_picture
from ..words.class_lists import load_class_list
from ..words.label_space import LabelSpace, label_space
from .benchmarks import load_benchmarks
from .build import dataset_dicts
from .labels import stored_labels
from .panoptic_png import read_panoptic_png
from .sources import first_ten

_MESSAGES = 10  # of one kind; the rest is counted


@dataclass
class Finding:
    """What one record was found to hold.

    Attributes:
        size: (height, width) of the picture.
        mode: Pillow's mode of the picture.
        label_format: mode and bits of the label file, e.g. ``L 8 bit``; "" without labels.
        values: label values that occur, as class indices.
        counts: pixels of each.
        classes: class index -> number of segments or boxes, for panoptic and instance records.
        errors: what makes the record unusable or wrong.
        warnings: what is odd but known to occur.
    """

    size: tuple[int, int] = (0, 0)
    mode: str = ""
    label_format: str = ""
    values: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: Counter = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What a dataset was found to hold.

    Attributes:
        name: of the dataset.
        names: class names, C.
        facts: title -> value, for the head of the text.
        histogram: (C,) pixels of each class, or segments or boxes where there are no labels.
        unit: what the histogram counts.
        ignored: pixels that do not count.
        errors: one line each; any makes the check fail.
        warnings: one line each.
    """

    name: str
    names: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    unit: str = "pixels"
    ignored: int = 0
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.errors

    @property
    def absent(self) -> list[str]:
        """Names of the classes that never occur."""
        return [self.names[i] for i in np.flatnonzero(self.histogram == 0)]

    def __str__(self) -> str:
        """The report as text."""
        parts = [f"{self.name}: {'good' if self.passed else 'NOT USABLE AS IT IS'}"]
        parts.append(tabulate(self.facts.items(), tablefmt="plain", disable_numparse=True))
        if self.histogram.sum():
            parts.append(self._table())
        if self.histogram.size and self.absent:
            parts.append(f"{len(self.absent)} classes never occur: {', '.join(self.absent)}")
        parts += [f"warning: {line}" for line in self.warnings]
        parts += [f"error: {line}" for line in self.errors]
        return "\n".join(parts)

    def _table(self) -> str:
        share = 100 * self.histogram / self.histogram.sum()
        rows = [
            (index, self.names[index], int(self.histogram[index]), f"{share[index]:.3f} %")
            for index in np.argsort(-self.histogram, kind="stable")
            if self.histogram[index]
        ]
        return tabulate(rows, headers=("index", "class", self.unit, "share"))


def check_dataset(name: str, *, decode: bool = False, workers: int | None = 1) -> Report:
    """Look a registered dataset over.

    Args:
        name: registered name.
        decode: decode every picture completely instead of reading its header only.
        workers: processes; None for one per core.

    Returns:
        The report. Problems are in its ``errors``; nothing is raised for them.
    """
    report = Report(name)
    try:
        records = dataset_dicts([name])
        has_labels = any("sem_seg_file_name" in record for record in records)
        space = label_space(name) if has_labels else None
    except UserError as error:
        report.errors.append(str(error))
        return report
    metadata = MetadataCatalog.get(name)
    report.names = _names(metadata, has_labels)
    report.unit = "pixels" if has_labels else "segments"
    report.histogram = np.zeros(len(report.names), np.int64)
    _check_ids(records, report)
    findings = _scan(records, partial(inspect_record, space=space, decode=decode), workers)
    _sum_up(report, findings, space)
    _check_count(report, metadata, len(records))
    return report


def _names(metadata: Any, has_labels: bool) -> list[str]:
    if has_labels and metadata.get("label_class_list"):
        return load_class_list(metadata.label_class_list).names
    return list(metadata.get("stuff_classes") or metadata.get("thing_classes") or ())


def _check_ids(records: list[dict[str, Any]], report: Report) -> None:
    repeated = [i for i, n in Counter(r["image_id"] for r in records).items() if n > 1]
    if repeated:
        report.errors.append(f"image ids occur more than once: {first_ten(repeated)}")


def _scan(records: list[dict[str, Any]], inspect: Any, workers: int | None) -> Iterable[Finding]:
    show = partial(tqdm, total=len(records), unit="picture", disable=None)
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        return show(map(inspect, records))
    with ProcessPoolExecutor(workers) as pool:
        return list(show(pool.map(inspect, records, chunksize=16)))


def inspect_record(
    record: Mapping[str, Any], *, space: LabelSpace | None = None, decode: bool = False
) -> Finding:
    """Look one record over.

    Args:
        record: Detectron2 dataset dict.
        space: what its label values mean; None if it has no semantic labels.
        decode: decode the picture completely.
    """
    found = Finding()
    try:
        _inspect_picture(record, found, decode)
        if space is not None and "sem_seg_file_name" in record:
            _inspect_labels(record, found, space)
        if "pan_seg_file_name" in record:
            _inspect_segments(record, found)
    except UserError as error:
        found.errors.append(str(error))
    for box in record.get("annotations", ()):
        found.classes[box["category_id"]] += 1
    return found


def _inspect_picture(record: Mapping[str, Any], found: Finding, decode: bool) -> None:
    path = record["file_name"]
    header = read_header(path)
    found.size, found.mode = header.upright, header.mode
    if decode:
        read_picture(path)
    stated = (record.get("height", found.size[0]), record.get("width", found.size[1]))
    if stated != found.size:
        found.errors.append(
            f"{path}: is {found.size[0]} x {found.size[1]}, the annotation says {stated}"
        )


def _inspect_labels(record: Mapping[str, Any], found: Finding, space: LabelSpace) -> None:
    path = record["sem_seg_file_name"]
    labels = stored_labels(record)
    with Image.open(path) as picture:
        bits = 8 * np.asarray(picture).dtype.itemsize
        found.label_format = f"{picture.mode} {bits} bit"
    if bits == 8 and space.num_classes > 256:
        found.errors.append(f"{path}: 8-bit labels cannot hold {space.num_classes} classes")
    if labels.shape != found.size:
        found.errors.append(
            f"{path}: is {labels.shape[0]} x {labels.shape[1]}, its picture "
            f"{found.size[0]} x {found.size[1]}"
        )
    found.values, found.counts = np.unique(labels, return_counts=True)
    inside = (found.values >= 0) & (found.values < space.num_classes)
    if wrong := space.strangers(found.values):
        found.errors.append(
            f"{path}: values {first_ten(wrong)} are neither in 0..{space.num_classes - 1} "
            f"nor the ignore value {space.ignore_label}"
        )
    if not inside.any():
        found.warnings.append(f"{path}: no pixel is labelled")


def _inspect_segments(record: Mapping[str, Any], found: Finding) -> None:
    path = record["pan_seg_file_name"]
    ids = read_panoptic_png(path)
    if ids.shape != found.size:
        found.errors.append(f"{path}: is {ids.shape}, its picture {found.size}")
    drawn = set(np.unique(ids).tolist()) - {0}
    stated = [segment["id"] for segment in record["segments_info"]]
    if len(set(stated)) < len(stated):
        found.errors.append(f"{path}: a segment id occurs twice in the JSON")
    if drawn - set(stated):
        found.errors.append(f"{path}: segments not in the JSON: {first_ten(drawn - set(stated))}")
    if set(stated) - drawn:
        hidden = first_ten(set(stated) - drawn)
        found.warnings.append(f"{path}: segments of the JSON without a pixel: {hidden}")
    found.classes.update(segment["category_id"] for segment in record["segments_info"])


def _sum_up(report: Report, findings: Iterable[Finding], space: LabelSpace | None) -> None:
    sizes, modes, formats = [], Counter(), Counter()
    errors: list[str] = []
    warnings: list[str] = []
    segments: Counter = Counter()
    for found in findings:
        sizes.append(found.size)
        modes[found.mode] += 1
        formats[found.label_format] += bool(found.label_format)
        segments += found.classes
        errors += found.errors
        warnings += found.warnings
        if space is not None:
            valid = (found.values >= 0) & (found.values < space.num_classes)
            report.histogram[found.values[valid]] += found.counts[valid]
            report.ignored += int(found.counts[found.values == space.ignore_label].sum())
    if space is None:
        for index, count in segments.items():
            report.histogram[index] += count
    report.errors += _shorten(errors)
    report.warnings += _shorten(warnings)
    area = np.array(sizes).prod(axis=1).argsort()
    smallest, largest = sizes[area[0]], sizes[area[-1]]
    report.facts = {
        "pictures": f"{len(sizes)}",
        "size": f"{smallest[0]} x {smallest[1]} to {largest[0]} x {largest[1]} (height x width)",
        "picture modes": _counted(modes),
    }
    if space is not None:
        total = max(1, int(report.histogram.sum()) + report.ignored)
        report.facts |= {
            "label files": _counted(+formats),
            "classes": f"{space.num_classes}, {len(report.absent)} of them absent",
            "ignored": f"value {space.ignore_label}, {100 * report.ignored / total:.2f} % of all",
        }
    if segments:
        report.facts["segments"] = str(segments.total())


def _counted(counts: Counter) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.most_common())


def _shorten(lines: list[str]) -> list[str]:
    more = len(lines) - _MESSAGES
    return lines[:_MESSAGES] + ([f"... and {more} more of this kind"] if more > 0 else [])


def _check_count(report: Report, metadata: Any, count: int) -> None:
    benchmark = load_benchmarks().get(metadata.get("benchmark", ""))
    published = benchmark.counts.get(metadata.split) if benchmark else None
    if published is not None and published != count:
        report.warnings.append(f"{count} pictures; the published split has {published}")
