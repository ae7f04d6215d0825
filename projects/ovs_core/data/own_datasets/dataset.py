"""One dataset of a person: its records, and its place in Detectron2's catalogs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import UserError, nearest
from ..records import (
    CategoryIds,
    Record,
    instance_records,
    panoptic_records,
    semantic_records,
)
from ..sources import Source, read_json

Kind = Literal["semantic", "panoptic", "instances"]
EVALUATOR_TYPES = {"semantic": "sem_seg", "panoptic": "coco_panoptic_seg", "instances": "coco"}


@dataclass(frozen=True)
class Classes:
    """The K classes of a dataset.

    Attributes:
        names: display names.
        colors: RGB of each.
        synonyms: texts that are encoded for each.
        class_list: name of the shipped class list that they are from, or "".
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, ...], ...]
    synonyms: tuple[tuple[str, ...], ...] = ()
    class_list: str = ""


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
    """

    name: str
    source: Source
    kind: Kind
    classes: Classes
    ignore: int
    seen: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()
    things: tuple[str, ...] | None = None

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

        Raises:
            UserError: if a category has no such name.
        """
        path, names = self.source.path_of("annotations"), self.classes.names
        index: dict[int, int] = {}
        things: set[int] = set()
        for category in read_json(path).get("categories", []):
            name = category["name"]
            if name not in names:
                hint = nearest(name, names)
                raise UserError(f"{path}: category '{name}' is not among the names.{hint}")
            place = index[category["id"]] = names.index(name)
            stated = self.things
            if category.get("isthing", 1) if stated is None else name in stated:
                things.add(place)
        return CategoryIds(index, frozenset(things))

    def register(self) -> None:
        """Put the dataset into Detectron2's catalogs.

        Raises:
            UserError: if the name belongs to another dataset.
        """
        if self.name in DatasetCatalog:
            if getattr(DatasetCatalog[self.name], "args", None) == (self,):
                return
            raise UserError(f"dataset name '{self.name}' is taken; choose another one")
        classes = self._class_metadata()
        DatasetCatalog.register(self.name, partial(OwnDataset.records, self))
        metadata = MetadataCatalog.get(self.name)
        metadata.set(
            evaluator_type=EVALUATOR_TYPES[self.kind],
            ignore_label=self.ignore,
            background_rule="none",
            image_root=str(self.source.images),
            **classes,
        )
        if self.classes.class_list:
            metadata.set(class_list=self.classes.class_list)
        if any(len(texts) > 1 for texts in self.classes.synonyms):
            metadata.set(class_synonyms=[list(texts) for texts in self.classes.synonyms])
        if self.unseen:
            metadata.set(seen_classes=list(self.seen), unseen_classes=list(self.unseen))

    def _class_metadata(self) -> dict[str, Any]:
        names, colors = list(self.classes.names), list(map(list, self.classes.colors))
        everything = {"stuff_classes": names, "stuff_colors": colors}
        if self.kind == "semantic":
            return {**everything, "sem_seg_root": str(self.source.labels)}
        self._require_paths()  # the JSON says which classes are things
        categories = self.category_ids()
        index, path = dict(categories.index), str(self.source.annotations)
        if self.kind == "instances":
            return {
                **_things(names, colors, range(len(names))),
                "thing_dataset_id_to_contiguous_id": index,
                "json_file": path,
            }
        things = {i: place for i, place in index.items() if place in categories.things}
        return {
            **everything,
            **_things(names, colors, sorted(categories.things)),
            "stuff_dataset_id_to_contiguous_id": index,
            "thing_dataset_id_to_contiguous_id": things,
            "label_divisor": 1000,
            "panoptic_json": path,
            "panoptic_root": str(self.source.segments),
        }

    def _require_paths(self) -> None:
        for path in self.source.required():
            if not path.exists():
                raise UserError(f"dataset '{self.name}': {path} does not exist")


def _things(names: list[str], colors: list[list[int]], chosen: Sequence[int]) -> dict[str, Any]:
    return {
        "thing_classes": [names[i] for i in chosen],
        "thing_colors": [colors[i] for i in chosen],
    }
