"""Registering every benchmark with Detectron2; importing this module does it.

Registering reads no disk: records, and the paths in the metadata, are looked up when first asked
for, under the root that ``DETECTRON2_DATASETS`` names then.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from ..words.class_lists import Split, load_split
from .benchmarks import Benchmark, load_benchmarks, locate
from .caption_records import caption_records
from .instance_records import instance_records
from .records import CategoryIds, Record, panoptic_records, semantic_records
from .sources import Source

# Detectron2's name of a path -> ours, per kind of dataset.
_SEMANTIC_PATHS = {"image_root": "images", "sem_seg_root": "labels"}
_PATH_FIELDS = {
    "semantic": _SEMANTIC_PATHS,
    "panoptic": {**_SEMANTIC_PATHS, "panoptic_json": "annotations", "panoptic_root": "segments"},
    "instances": {"image_root": "images", "json_file": "annotations"},
    "captions": {"image_root": "images"},
}
_OF_THINGS = ("instances", "captions")  # kinds that number the things of a class list alone


class BenchmarkMetadata(Metadata):
    """Detectron2 metadata whose paths are found on disk when read.

    ``image_root``, ``sem_seg_root``, ``panoptic_json``, ``panoptic_root`` and ``json_file`` come
    from the layout in use; a benchmark that has no such file raises ``AttributeError`` as usual.
    """

    def __getattr__(self, key: str) -> Any:
        """Look a path up; everything else as Detectron2 does."""
        benchmark = load_benchmarks().get(self.__dict__.get("benchmark", ""))
        if benchmark is None or key not in _PATH_FIELDS[benchmark.kind]:
            return super().__getattr__(key)
        source = locate(benchmark, self.__dict__["split"])[0]
        return str(getattr(source, _PATH_FIELDS[benchmark.kind][key]))


def load_records(
    benchmark: Benchmark,
    split: str,
    dataset_name: str,
    *,
    root: Path | None = None,
    labels: bool = True,
) -> list[Record]:
    """Read the records of one split.

    Args:
        benchmark: row of the table.
        split: one of its splits.
        dataset_name: registered name, written into each record.
        root: folder of the datasets; default ``datasets_root()``.
        labels: False leaves optional semantic labels out (they are about to be made).

    Returns:
        Detectron2 dataset dicts.

    Raises:
        UserError: if the data is not found or its files disagree.
    """
    records: list[Record] = []
    for source in locate(benchmark, split, root):
        if source.labels_optional and not labels:
            source = replace(source, labels=None)
        records += _read(benchmark, split, source, dataset_name)
    return records


def _read(benchmark: Benchmark, split: str, source: Source, dataset_name: str) -> list[Record]:
    if benchmark.kind == "semantic":
        return semantic_records(source, dataset_name=dataset_name)
    if benchmark.kind == "captions":
        return caption_records(source, dataset_name=dataset_name)
    categories = category_ids(benchmark)
    if benchmark.kind == "panoptic":
        return panoptic_records(source, dataset_name=dataset_name, categories=categories)
    zero_shot = load_split(benchmark.classes)
    hide = frozenset(zero_shot.unseen) if zero_shot and split == "train" else frozenset()
    return instance_records(source, dataset_name=dataset_name, categories=categories, hide=hide)


def category_ids(benchmark: Benchmark) -> CategoryIds:
    """How the category ids of a benchmark's annotation file map to class indices.

    Sets of instances and of captions count things only; ids outside a base/novel split are dropped.
    """
    classes = benchmark.class_list
    if benchmark.category_field == "index":
        index = {i: i for i in range(len(classes))}
    else:
        index = classes.ids(benchmark.category_field)
    things = frozenset(classes.things)
    if benchmark.kind not in _OF_THINGS:
        return CategoryIds(index, things)
    index = {id_: i for id_, i in index.items() if i in things}
    drop = _outside(load_split(benchmark.classes), index)
    contiguous = {id_: place for place, id_ in enumerate(sorted(index, key=index.__getitem__))}
    return CategoryIds(contiguous, frozenset(contiguous.values()), drop)


def _outside(zero_shot: Split | None, index: dict[int, int]) -> frozenset[int]:
    if zero_shot is None:
        return frozenset()
    inside = {*zero_shot.seen, *zero_shot.unseen}
    return frozenset(id_ for id_, i in index.items() if i not in inside)


def build_metadata(
    benchmark: Benchmark, split: str, name: str, style: str = ""
) -> BenchmarkMetadata:
    """Make the metadata of a registered name; each name gets its own copy.

    Args:
        benchmark: row of the table.
        split: one of its splits.
        name: registered name.
        style: whose name it is; ``vocab_style`` tells it to whoever picks class texts.
    """
    classes = benchmark.class_list
    names, colors = classes.names, classes.colors
    metadata = BenchmarkMetadata(name=name)
    metadata.set(
        benchmark=benchmark.name,
        split=split,
        class_list=benchmark.classes,
        vocab_style="literal" if style == "san" else style,
        evaluator_type=benchmark.evaluator,
        ignore_label=classes.ignore_label,
        background_rule=benchmark.background_rule,
    )
    if benchmark.background_words:
        metadata.set(background_words=benchmark.background_words)
    if benchmark.label_classes:
        metadata.set(label_class_list=benchmark.label_classes)
    if zero_shot := load_split(benchmark.classes):
        metadata.set(seen_classes=list(zero_shot.seen), unseen_classes=list(zero_shot.unseen))
    if benchmark.kind in _OF_THINGS:
        things = classes.things
        return metadata.set(
            thing_classes=[names[i] for i in things],
            thing_colors=[colors[i] for i in things],
            thing_dataset_id_to_contiguous_id=dict(category_ids(benchmark).index),
        )
    metadata.set(stuff_classes=names, stuff_colors=colors)
    if classes.things:
        things = classes.things
        metadata.set(
            thing_classes=[names[i] for i in things], thing_colors=[colors[i] for i in things]
        )
    if benchmark.kind == "panoptic":
        index = category_ids(benchmark).index
        metadata.set(
            label_divisor=1000,
            gt_ext="png",
            stuff_dataset_id_to_contiguous_id=dict(index),
            thing_dataset_id_to_contiguous_id={
                k: i for k, i in index.items() if i in classes.things
            },
        )
    else:
        metadata.set(gt_ext="tif" if benchmark.label_bits == 16 else "png")
    return metadata


def registered_names(benchmark: Benchmark) -> list[tuple[str, str, str]]:
    """All names of a benchmark as (name, split, style); the canonical ones have style ""."""
    names = [(f"{benchmark.name}_{split}", split, "") for split in benchmark.splits]
    return names + [
        (name, split, style)
        for style, by_split in benchmark.aliases.items()
        for split, name in by_split.items()
    ]


def register_benchmarks() -> None:
    """Put every name of the table into Detectron2's catalogs; a second call changes nothing."""
    for benchmark in load_benchmarks().values():
        for name, split, style in registered_names(benchmark):
            if name not in DatasetCatalog:
                DatasetCatalog.register(name, partial(load_records, benchmark, split, name))
                MetadataCatalog[name] = build_metadata(benchmark, split, name, style)


register_benchmarks()
