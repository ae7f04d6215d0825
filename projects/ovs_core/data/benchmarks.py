"""The table of benchmarks, and finding them on disk.

Nothing here touches the disk but ``locate`` and what calls it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError, check_choice
from ..files.listing import iter_files
from ..words.class_lists import ClassList, load_class_list
from .sources import Source

TABLE = Path(__file__).with_name("benchmarks.yaml")
STYLES = ("catseg", "san", "fcclip", "maftplus", "maft", "mmseg", "raw")
_PATHS = ("images", "labels", "listing", "annotations", "segments")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """One way to have a benchmark on disk, relative to the root.

    Attributes:
        style: whose users have it.
        splits: word of the layout for each split that it has.
        parts: fields of ``Source`` as templates; several parts are joined (VOC's augmented list).
    """

    style: str
    splits: Mapping[str, str]
    parts: tuple[Mapping[str, Any], ...]

    def sources(self, root: Path, split: str) -> list[Source]:
        """Fill the templates in."""
        words = {"split": self.splits[split], "name": split}
        return [_fill(part, root, words) for part in self.parts]


@dataclass(frozen=True)
class Benchmark:
    """One row of the table.

    Attributes:
        name: stem of the registered names (``<name>_<split>``).
        title: for reports.
        classes: name of the class list.
        splits: this benchmark's word for each of its splits.
        layouts: in the order in which they are tried.
        kind: ``semantic``, ``panoptic``, ``instances`` or ``captions``; the classes of the last
            are words to look for, not what its files are labelled with.
        evaluator: Detectron2's ``evaluator_type``.
        counts: published number of pictures per split.
        prepare: what `ovsuite prepare` is given; "" if nothing needs to be prepared.
        aliases: style -> split -> name under which users of other code know it.
        background_rule: ``none``, ``first_class`` or ``last_class``.
        background_words: list of words that stand for the background class, or "".
        category_field: field of the class list that ids of the annotation file refer to.
        label_classes: class list of the semantic labels if it is another one (hybrid records).
        label_bits: 16 where 8 bits cannot hold the ids.
        optional_listing: file in the root that, if there, names the pictures to use.
    """

    name: str
    title: str
    classes: str
    splits: Mapping[str, str]
    layouts: tuple[Layout, ...]
    kind: str = "semantic"
    evaluator: str = "sem_seg"
    counts: Mapping[str, int] = field(default_factory=dict)
    prepare: str = ""
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    background_rule: str = "none"
    background_words: str = ""
    category_field: str = ""
    label_classes: str = ""
    label_bits: int = 8
    optional_listing: str = ""

    @property
    def class_list(self) -> ClassList:
        """The classes."""
        return load_class_list(self.classes)


def datasets_root() -> Path:
    """Folder that holds the datasets: ``DETECTRON2_DATASETS``, by default ``datasets``."""
    return Path(os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets")))


@cache
def load_benchmarks() -> dict[str, Benchmark]:
    """Read the table: name -> benchmark."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    rows: dict[str, Benchmark] = {}
    for name, row in table.items():  # a row stands below those whose layouts it reuses
        own = tuple(_layout(entry, row["splits"]) for entry in row.pop("layouts", ()))
        reused = row.pop("layouts_of", None)
        then = row.pop("then", None)
        if reused:
            own += tuple(_with_rule(layout, then) for layout in rows[reused].layouts)
        rows[name] = Benchmark(name=name, layouts=own, **row)
    return rows


def _layout(entry: Mapping[str, Any], splits: Mapping[str, str]) -> Layout:
    entry = dict(entry)
    style, words = entry.pop("style"), entry.pop("splits", splits)
    return Layout(style, words, tuple(entry.pop("parts", (entry,))))


def _with_rule(layout: Layout, rule: str) -> Layout:
    parts = tuple({**p, "label_rule": [*p.get("label_rule", ()), rule]} for p in layout.parts)
    return replace(layout, parts=parts)


def _fill(part: Mapping[str, Any], root: Path, words: Mapping[str, str]) -> Source:
    fields: dict[str, Any] = dict(part)
    for key in _PATHS:
        if key in fields:
            fields[key] = root / fields[key].format(**words)
    for key in ("image_suffix", "label_rule"):
        if key in fields:
            fields[key] = tuple(fields[key])
    return Source(**fields)


def candidates(benchmark: Benchmark, split: str) -> list[Layout]:
    """Layouts that have a split, the style of ``OVS_DATASETS_LAYOUT`` first.

    Raises:
        UserError: if the variable holds no known style.
    """
    layouts = [layout for layout in benchmark.layouts if split in layout.splits]
    preferred = os.environ.get("OVS_DATASETS_LAYOUT", "")
    if preferred:
        check_choice("OVS_DATASETS_LAYOUT", preferred, STYLES)
    return sorted(layouts, key=lambda layout: layout.style != preferred)


def locate(benchmark: Benchmark, split: str, root: Path | None = None) -> list[Source]:
    """Find a split on disk and log which layout was used.

    Args:
        benchmark: row of the table.
        split: one of its splits.
        root: folder of the datasets; default ``datasets_root()``.

    Returns:
        The parts of the first layout whose files and folders exist and are not empty.

    Raises:
        UserError: if none fits; lists what was looked for and the command that prepares the data.
    """
    root = datasets_root() if root is None else root
    tried = []
    for layout in candidates(benchmark, split):
        sources = layout.sources(root, split)
        if all(_usable(source) for source in sources):
            sources = (
                [_with_listing(s, root / benchmark.optional_listing) for s in sources]
                if benchmark.optional_listing
                else sources
            )
            _log_choice(f"{benchmark.name}_{split}", layout.style, sources[0])
            return sources
        tried.append(f"  [{layout.style}] " + " + ".join(_needs(sources, root)))
    raise _not_found(benchmark, split, root, tried)


def find_images(benchmark: Benchmark, split: str, root: Path) -> tuple[Layout, Source]:
    """Find the pictures of a split whose labels are still to be prepared.

    Returns:
        The first layout for prepared files (neither ``raw`` nor ``mmseg``) whose pictures exist,
        and where its files belong.

    Raises:
        UserError: if no layout has its pictures.
    """
    tried = []
    for layout in candidates(benchmark, split):
        source = layout.sources(root, split)[0]
        if layout.style in ("raw", "mmseg"):
            continue
        if source.images.is_dir() and any(source.images.iterdir()):
            return layout, source
        tried.append(f"  {source.images}")
    raise UserError(
        f"no pictures of {benchmark.title} ({split}) below {root}. Looked for:",
        *tried,
        "Unpack the pictures into one of them (see datasets/README.md), or set "
        "DETECTRON2_DATASETS.",
    )


def _with_listing(source: Source, listing: Path) -> Source:
    if not listing.is_file():
        _logger.info("%s not found: all pictures of %s are used", listing, source.images)
        return source
    _logger.info("pictures are those of %s", listing)
    return replace(source, listing=listing)


def _usable(source: Source) -> bool:
    if not all(path.exists() for path in source.required()):
        return False
    folders = [(source.images, source.image_suffix)]
    if source.labels is not None and not source.labels_optional:
        folders.append((source.labels, (source.label_suffix,)))
    if source.segments is not None:
        folders.append((source.segments, (source.segment_suffix,)))
    return all(
        any(True for _ in iter_files(folder, suffixes, recursive=source.recursive))
        for folder, suffixes in folders
    )


def _needs(sources: list[Source], root: Path) -> Iterator[str]:
    seen = dict.fromkeys(path for source in sources for path in source.required())
    for path in seen:
        state = "" if path.exists() else " (missing)"
        yield f"{path.relative_to(root)}{state}"
    if all(path.exists() for path in seen):
        suffixes = (*sources[0].image_suffix, sources[0].label_suffix)
        yield "but not all of *" + ", *".join(suffixes) + " there"


def _log_choice(name: str, style: str, source: Source) -> None:
    labels = source.labels or source.annotations
    _logger.info("%s: layout '%s', pictures %s, labels %s", name, style, source.images, labels)


def _not_found(benchmark: Benchmark, split: str, root: Path, tried: list[str]) -> UserError:
    state = "" if root.is_dir() else f"{root} does not exist; set DETECTRON2_DATASETS. "
    if benchmark.prepare:
        mend = f"prepare it with: ovsuite prepare {benchmark.prepare}"
    else:
        mend = "unpack the official archives"
    return UserError(
        f"{benchmark.name}_{split}: {state}no known layout of {benchmark.title} below {root}. "
        "Looked for:",
        *tried,
        f"Mend: {mend} (sources: datasets/README.md)",
    )
