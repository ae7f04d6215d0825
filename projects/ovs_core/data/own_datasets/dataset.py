"""One dataset of a person: its records, and its place in Detectron2's catalogs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import UserError, nearest
from ..annotations import (
    AnnotationSchema,
    Category,
    InstanceSchema,
    PanopticSchema,
    read_annotations,
    refuse_faults,
)
from ..instance_records import instance_records
from ..records import CategoryIds, Record, panoptic_records, semantic_records
from ..sources import Source
from .metadata import OwnMetadata

logger = logging.getLogger(__name__)

Kind = Literal["semantic", "panoptic", "instances"]
_THING_IDS = "thing_dataset_id_to_contiguous_id"
_STATED_BY_FILE = {  # metadata that an annotation file decides
    "panoptic": ("thing_classes", "thing_colors", _THING_IDS, "stuff_dataset_id_to_contiguous_id"),
    "instances": (_THING_IDS,),
}
EVALUATOR_TYPES = {"semantic": "sem_seg", "panoptic": "coco_panoptic_seg", "instances": "coco"}


@dataclass(frozen=True)
class Classes:
    """The K classes of a dataset.

    Attributes:
        names: display names.
        colors: RGB of each.
        synonyms: texts that are encoded for each.
        class_list: name of the shipped class list that they are from, or "".
        background: indices of those that are marked as background.
        notes: how what could be read in two ways was read.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, ...], ...]
    synonyms: tuple[tuple[str, ...], ...] = ()
    class_list: str = ""
    background: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnDataset:
    """One stanza, checked.

    Attributes:
        name: registered name.
        source: where the files are.
        kind: what is annotated.
        classes: what can be annotated.
        ignore: label value that does not count.
        seen: indices, empty without a split.
        unseen: indices.
        things: names of countable classes, or None to read them from the JSON.
        drop: names or ids of categories of the JSON that are no classes.
    """

    name: str
    source: Source
    kind: Kind
    classes: Classes
    ignore: int
    seen: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()
    things: tuple[str, ...] | None = None
    drop: tuple[str | int, ...] = ()

    def records(self) -> list[Record]:
        """Read the records.

        Raises:
            UserError: if files are missing or disagree.
        """
        self._require_paths()
        if self.kind == "semantic":
            return semantic_records(self.source, dataset_name=self.name)
        categories = self.category_ids()
        read = panoptic_records if self.kind == "panoptic" else instance_records
        return read(self.source, dataset_name=self.name, categories=categories)

    def category_ids(self) -> CategoryIds:
        """Match the categories of the JSON with the names, by name.

        A name that the JSON does not list gets an id of its own, so that it can be predicted.

        Raises:
            UserError: names the categories that have no such name, one name twice, or no
                ``isthing`` where that decides.
        """
        path, names = self.source.path_of("annotations"), self.classes.names
        categories = self._categories(path)
        refuse_faults(path, self._category_faults(categories))
        kept = [category for category in categories if not self._dropped(category)]
        index = {category.id: names.index(str(category.name)) for category in kept}
        absent = [place for place in range(len(names)) if place not in index.values()]
        fresh = max((c.id for c in categories), default=0) + 1
        index |= {fresh + i: place for i, place in enumerate(absent)}
        if self.things is None:
            things = {index[c.id] for c in kept if c.isthing or self.kind == "instances"}
        else:
            things = {names.index(name) for name in self.things}
        self._refuse_counted_background(things)
        return CategoryIds(index, frozenset(things))

    def _refuse_counted_background(self, things: Set[int]) -> None:
        if counted := things & set(self.classes.background):
            name = self.classes.names[min(counted)]
            raise UserError(
                f"dataset '{self.name}': names marks '{name}' as background, which is one region, "
                f"but it is counted one by one; write '{name}' alone"
            )

    def _categories(self, path: Path) -> list[Category]:
        try:
            return read_annotations(path, AnnotationSchema).categories
        except UserError:  # tell of the annotations' faults in the same line
            read_annotations(path, PanopticSchema if self.kind == "panoptic" else InstanceSchema)
            raise

    def _dropped(self, category: Category) -> bool:
        return category.name in self.drop or category.id in self.drop

    def _category_faults(self, categories: Sequence[Category]) -> Iterator[str]:
        first: dict[str, int] = {}
        for place, category in enumerate(categories):
            name, where = category.name, f"categories[{place}]"
            if self._dropped(category):
                continue
            if name is None:
                yield f"{where}.name: is missing; classes are found by their names"
                continue
            if name not in self.classes.names:
                yield (
                    f"{where}.name: category '{name}' is not among the names."
                    f"{nearest(name, self.classes.names)} If nothing is annotated with it (the "
                    f"root that Roboflow writes), leave it out: drop_categories: [{name}]"
                )
            if first.setdefault(name, place) != place:
                yield f"{where}.name: '{name}' stands in categories[{first[name]}] already"
            if self.kind == "panoptic" and self.things is None and category.isthing is None:
                yield (
                    f"{where}.isthing: is missing; write 1 for what is counted and 0 for what is "
                    "not, or list the counted classes in the dataset's 'things'"
                )

    def register(self) -> None:
        """Put the dataset into Detectron2's catalogs, and say how its names were read.

        No file is read here; what is wrong with one is told when the dataset is used.

        Raises:
            UserError: if the name belongs to another dataset.
        """
        if self.name in DatasetCatalog:
            if getattr(DatasetCatalog[self.name], "args", None) == (self,):
                return
            raise UserError(f"dataset name '{self.name}' is taken; choose another one")
        DatasetCatalog.register(self.name, partial(OwnDataset.records, self))
        MetadataCatalog[self.name] = metadata = OwnMetadata(name=self.name)
        metadata.read_later(_STATED_BY_FILE.get(self.kind, ()), self._file_metadata)
        metadata.set(
            evaluator_type=EVALUATOR_TYPES[self.kind],
            ignore_label=self.ignore,
            background_rule="none",
            image_root=str(self.source.images),
            **self._class_metadata(),
        )
        for note in self.classes.notes:
            logger.warning("dataset '%s': %s", self.name, note)
        if self.classes.class_list:
            metadata.set(class_list=self.classes.class_list)
        if any(len(texts) > 1 for texts in self.classes.synonyms):
            metadata.set(class_synonyms=[list(texts) for texts in self.classes.synonyms])
        if self.classes.background:
            metadata.set(background_classes=list(self.classes.background))
        if self.unseen:
            metadata.set(seen_classes=list(self.seen), unseen_classes=list(self.unseen))

    def _class_metadata(self) -> dict[str, Any]:
        names, colors = list(self.classes.names), list(map(list, self.classes.colors))
        everything = {"stuff_classes": names, "stuff_colors": colors}
        if self.kind == "semantic":
            return {**everything, "sem_seg_root": str(self.source.labels)}
        path = str(self.source.annotations)
        if self.kind == "instances":
            return {**self._things(range(len(names))), "json_file": path}
        segments = {"panoptic_json": path, "panoptic_root": str(self.source.segments)}
        return {**everything, **segments, "label_divisor": 1000}

    def _file_metadata(self) -> dict[str, Any]:
        """What the annotation file decides: ids and, of a panoptic one, which classes are things.

        Raises:
            UserError: if the file is missing or wrong.
        """
        self._require_paths()
        categories = self.category_ids()
        index = dict(categories.index)
        if self.kind == "instances":
            return {_THING_IDS: index}
        return {
            **self._things(sorted(categories.things)),
            _THING_IDS: {i: place for i, place in index.items() if place in categories.things},
            "stuff_dataset_id_to_contiguous_id": index,
        }

    def _things(self, chosen: Sequence[int]) -> dict[str, Any]:
        return {
            "thing_classes": [self.classes.names[i] for i in chosen],
            "thing_colors": [list(self.classes.colors[i]) for i in chosen],
        }

    def _require_paths(self) -> None:
        for path in self.source.required():
            if not os.path.exists(path):  # Path.exists raises for a name that is too long
                raise UserError(f"dataset '{self.name}': {path} does not exist")
