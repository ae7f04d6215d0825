"""Looking a registered dataset over before it is trained on or scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata
from numpy.typing import NDArray
from tabulate import tabulate

from ..errors import UserError
from ..words.class_lists import load_class_list
from ..words.label_space import LabelSpace, label_space
from .benchmarks import load_benchmarks
from .build import dataset_dicts
from .findings import Finding, inspect_record
from .label_hints import label_hints
from .labels import by_picture
from .parallel import map_in_processes
from .sources import first_ten

_MESSAGES = 10  # of one kind; the rest is counted
NOT_DECODED = (
    "pictures were not decoded (--no-decode): a truncated or damaged one shows in the run only"
)


@dataclass
class DatasetReport:
    """What a dataset was found to hold.

    Attributes:
        name: of the dataset.
        names: class names, C.
        facts: title -> value, for the head of the text.
        histogram: (C,) pixels of each class, or segments or boxes where there are no labels.
        unit: what the histogram counts.
        ignored: pixels that do not count.
        decoded: whether all pictures were decoded; else a truncated one is found by the run alone.
        errors: one line each; any makes the check fail.
        warnings: one line each.
    """

    name: str
    names: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    unit: str = "pixels"
    ignored: int = 0
    decoded: bool = True
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.errors

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON takes it: what the text says, with every class."""
        classes = dict(zip(self.names, self.histogram.tolist(), strict=False))
        return {
            "dataset": self.name,
            "good": self.passed,
            "decoded": self.decoded,
            "errors": self.errors,
            "warnings": self.warnings,
            "facts": self.facts,
            "unit": self.unit,
            "classes": classes,
            "ignored": self.ignored,
        }

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
        if not self.decoded:
            parts.append(NOT_DECODED)
        return "\n".join(parts)

    def _table(self) -> str:
        share = 100 * self.histogram / self.histogram.sum()
        rows = [
            (index, self.names[index], int(self.histogram[index]), f"{share[index]:.3f} %")
            for index in np.argsort(-self.histogram, kind="stable")
            if self.histogram[index]
        ]
        return tabulate(rows, headers=("index", "class", self.unit, "share"))


def check_dataset(name: str, *, decode: bool = True, workers: int | None = 1) -> DatasetReport:
    """Look a registered dataset over.

    Args:
        name: registered name.
        decode: decode every picture completely; without it only their headers are read, and the
            report says so.
        workers: processes; None for one per core.

    Returns:
        The report. Problems are in its ``errors``; nothing is raised for them.
    """
    report = DatasetReport(name, decoded=decode)
    try:
        records = dataset_dicts([name])
        has_labels = any("sem_seg_file_name" in record for record in records)
        space = label_space(name) if has_labels else None
        if space is not None:
            by_picture(name, records)
    except UserError as error:
        report.errors.append(str(error))
        return report
    metadata = MetadataCatalog.get(name)
    report.names = _names(metadata, has_labels) if _has_classes(records) else []
    report.unit = "pixels" if has_labels else "segments"
    _check_ids(records, report)
    inspect = partial(inspect_record, space=space, decode=decode)
    findings = list(map_in_processes(inspect, records, workers=workers, unit="picture"))
    report.histogram = _histogram(findings, len(report.names), space)
    if space is not None:
        if not metadata.get("benchmark"):  # those are known to be right
            report.warnings += label_hints(findings, report.names, space)
        report.ignored = sum(int(f.counts[f.values == space.ignore_label].sum()) for f in findings)
    report.errors += _shorten([line for found in findings for line in found.errors])
    report.warnings += _shorten([line for found in findings for line in found.warnings])
    report.facts = _facts(report, findings, space)
    if marked := [report.names[i] for i in metadata.get("background_classes", ())]:
        report.facts["background"] = f"{', '.join(marked)}: one class in scores"
    _check_count(report, metadata, len(records))
    return report


def _has_classes(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether anything in the pictures has a class; a caption has none."""
    keys = ("sem_seg_file_name", "segments_info", "annotations")
    return any(key in record for record in records for key in keys)


def _names(metadata: Metadata, has_labels: bool) -> list[str]:
    if has_labels and metadata.get("label_class_list"):
        return load_class_list(metadata.label_class_list).names
    return list(metadata.get("stuff_classes") or metadata.get("thing_classes") or ())


def _check_ids(records: list[dict[str, Any]], report: DatasetReport) -> None:
    """Evaluation finds labels by file name; only segments and boxes are found by id."""
    ids = [r["image_id"] for r in records if "image_id" in r]
    if repeated := [i for i, n in Counter(ids).items() if n > 1]:
        report.warnings.append(f"image ids occur more than once: {first_ten(repeated)}")


def _histogram(
    findings: Sequence[Finding], count: int, space: LabelSpace | None
) -> NDArray[np.int64]:
    """Pixels of each of ``count`` classes, or segments and boxes where there are no labels."""
    histogram = np.zeros(count, np.int64)
    for found in findings:
        if space is None:
            for index, number in found.classes.items():
                histogram[index] += number
        else:
            valid = (found.values >= 0) & (found.values < count)
            histogram[found.values[valid]] += found.counts[valid]
    return histogram


def _facts(
    report: DatasetReport, findings: Sequence[Finding], space: LabelSpace | None
) -> dict[str, str]:
    sizes = sorted((found.size for found in findings), key=lambda size: size[0] * size[1])
    (low, narrow), (high, wide) = sizes[0], sizes[-1]
    facts = {
        "pictures": f"{len(sizes)}",
        "size": f"{low} x {narrow} to {high} x {wide} (height x width)",
        "picture modes": _counted(Counter(found.mode for found in findings)),
    }
    if space is not None:
        total = max(1, int(report.histogram.sum()) + report.ignored)
        formats = Counter(found.label_format for found in findings if found.label_format)
        facts |= {
            "label files": _counted(formats),
            "classes": f"{space.num_classes}, {len(report.absent)} of them absent",
            "ignored": f"value {space.ignore_label}, {100 * report.ignored / total:.2f} % of all",
        }
    if segments := sum(found.classes.total() for found in findings):
        facts["segments"] = str(segments)
    if captions := sum(found.captions for found in findings):
        facts["captions"] = str(captions)
    return facts


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.most_common())


def _shorten(lines: list[str]) -> list[str]:
    more = len(lines) - _MESSAGES
    return lines[:_MESSAGES] + ([f"... and {more} more of this kind"] if more > 0 else [])


def _check_count(report: DatasetReport, metadata: Metadata, count: int) -> None:
    benchmark = load_benchmarks().get(metadata.get("benchmark", ""))
    published = benchmark.counts.get(metadata.split) if benchmark else None
    if published is not None and published != count:
        report.warnings.append(f"{count} pictures; the published split has {published}")
