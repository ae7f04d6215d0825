"""A person's own data sets, described in a YAML file.

Each top-level key is the name of a data set::

    street_val:
      images: /data/street/val/images
      labels: /data/street/val/labels        # or annotations: (COCO or panoptic JSON)
      names: /data/street/names.txt          # one per line; or a list, or a shipped class list
      ignore: 255
      unseen: [scooter, tram]

Relative paths start at the YAML file's folder. A name can then stand in DATASETS.TRAIN and TEST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..errors import UserError, nearest
from ..files.pictures import SUFFIXES
from ..words.class_lists import class_list_names, load_class_list, voc_color
from ..words.vocabulary import Vocabulary
from .label_rules import rule_names
from .sources import (
    CategoryIds,
    Record,
    Source,
    instance_records,
    panoptic_records,
    read_json,
    semantic_records,
)

KEYS = {
    "images": "folder of the pictures (required)",
    "labels": "folder of one-channel label files with a class index per pixel",
    "annotations": "COCO instance JSON, or panoptic JSON together with 'segments'",
    "segments": "folder of panoptic PNGs",
    "names": "text file, list, or name of a shipped class list (required)",
    "things": "names of the countable classes (panoptic); default: 'isthing' of the JSON",
    "ignore": "label value of pixels that do not count (default 255, or 65535 beyond 255 classes)",
    "seen": "names of the classes that training may see",
    "unseen": "names of the classes that it may not see",
    "image_suffix": "end of a picture's file name (default: the usual picture formats)",
    "label_suffix": "end of a label's file name (default .png)",
    "segment_suffix": "end of a panoptic PNG's file name (default .png)",
    "label_rule": "rules that turn stored values into indices, e.g. zero_is_ignore",
    "list": "text file that names the pictures to use",
    "recursive": "look into sub-folders",
    "subset": "leave pictures without a label out instead of refusing them",
}
_PATHS = ("images", "labels", "annotations", "segments", "list")


@dataclass(frozen=True)
class OwnDataset:
    """One stanza, checked.

    Attributes:
        name: registered name.
        source: where the files are.
        kind: ``semantic``, ``panoptic`` or ``instances``.
        names: class names.
        ignore: label value that does not count.
        seen: indices, empty without a split.
        unseen: indices.
        things: names of countable classes, or None to read them from the JSON.
        class_list: name of the shipped class list, or "".
    """

    name: str
    source: Source
    kind: str
    names: tuple[str, ...]
    ignore: int
    seen: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()
    things: tuple[str, ...] | None = None
    class_list: str = ""
    colors: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

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
        path = self.source.annotations
        listed = read_json(path).get("categories", [])
        index, things = {}, set()
        for category in listed:
            if category["name"] not in self.names:
                hint = nearest(category["name"], self.names)
                raise UserError(
                    f"{path}: category '{category['name']}' is not among the names.{hint}"
                )
            place = self.names.index(category["name"])
            index[category["id"]] = place
            thing = (
                category.get("isthing", 1)
                if self.things is None
                else category["name"] in self.things
            )
            things |= {place} if thing else set()
        return CategoryIds(index, frozenset(things))

    def register(self) -> None:
        """Put the data set into Detectron2's catalogs.

        Raises:
            UserError: if the name belongs to another data set.
        """
        if self.name in DatasetCatalog:
            if getattr(DatasetCatalog[self.name], "args", None) == (self,):
                return
            raise UserError(f"data set name '{self.name}' is taken; choose another one")
        DatasetCatalog.register(self.name, partial(OwnDataset.records, self))
        metadata = MetadataCatalog.get(self.name)
        kinds = {"semantic": "sem_seg", "panoptic": "coco_panoptic_seg", "instances": "coco"}
        metadata.set(
            evaluator_type=kinds[self.kind],
            ignore_label=self.ignore,
            background_rule="none",
            image_root=str(self.source.images),
        )
        if self.class_list:
            metadata.set(class_list=self.class_list)
        if self.unseen:
            metadata.set(seen_classes=list(self.seen), unseen_classes=list(self.unseen))
        self._set_classes(metadata)

    def _set_classes(self, metadata: Any) -> None:
        names, colors = list(self.names), [list(c) for c in self.colors]
        if self.kind == "semantic":
            metadata.set(
                stuff_classes=names, stuff_colors=colors, sem_seg_root=str(self.source.labels)
            )
            return
        self._require_paths()  # the JSON says which classes are things
        categories = self.category_ids()
        things = {i: place for i, place in categories.index.items() if place in categories.things}
        if self.kind == "instances":
            metadata.set(thing_classes=names, thing_colors=colors,
            json_file=str(self.source.annotations),
                         thing_dataset_id_to_contiguous_id=dict(categories.index))  # fmt: skip
            return
        metadata.set(
            stuff_classes=names,
            stuff_colors=colors,
            thing_classes=[names[i] for i in sorted(categories.things)],
            thing_colors=[colors[i] for i in sorted(categories.things)],
            stuff_dataset_id_to_contiguous_id=dict(categories.index),
            thing_dataset_id_to_contiguous_id=things,
            label_divisor=1000,
            panoptic_json=str(self.source.annotations),
            panoptic_root=str(self.source.segments),
        )

    def _require_paths(self) -> None:
        for path in self.source.required():
            if not path.exists():
                raise UserError(f"data set '{self.name}': {path} does not exist")


def register_yaml_datasets(*paths: str | Path) -> list[str]:
    """Register the data sets that YAML files describe.

    Args:
        paths: the files; registering one twice is fine.

    Returns:
        The registered names.

    Raises:
        UserError: for an unreadable file, an unknown or missing key, or a value that cannot be
            used.
    """
    names = []
    for path in map(Path, paths):
        for dataset in read_yaml_datasets(path):
            dataset.register()
            names.append(dataset.name)
    return names


def read_yaml_datasets(path: Path) -> list[OwnDataset]:
    """Read and check the stanzas of a YAML file without registering them.

    Raises:
        UserError: as ``register_yaml_datasets``.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot read the data set file ({reason})") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: expected data set names with their keys below them")
    return [parse_stanza(str(name), stanza, path) for name, stanza in content.items()]


def parse_stanza(name: str, stanza: Any, path: Path) -> OwnDataset:
    """Check one stanza.

    Args:
        name: of the data set.
        stanza: its keys, see ``KEYS``.
        path: of the file, for messages and relative paths.

    Raises:
        UserError: naming the key and the mend.
    """
    where = f"{path}: data set '{name}'"
    if not isinstance(stanza, Mapping):
        raise UserError(f"{where}: expected keys such as images, labels, names")
    for key in stanza:
        if key not in KEYS:
            raise UserError(
                f"{where}: unknown key '{key}'.{nearest(str(key), KEYS)} Known: {', '.join(KEYS)}"
            )
    for key in ("images", "names"):
        if key not in stanza:
            raise UserError(f"{where}: lacks '{key}', the {KEYS[key].removesuffix(' (required)')}")
    kind = _kind(stanza, where)
    names, class_list, colors = _names(stanza["names"], path, where)
    ignore = stanza.get("ignore", 255 if len(names) <= 255 else 65535)
    if not isinstance(ignore, int) or isinstance(ignore, bool) or ignore < 0:
        raise UserError(f"{where}: ignore is {ignore!r}; expected a label value such as 255")
    if ignore < len(names):
        raise UserError(
            f"{where}: ignore value {ignore} is class '{names[ignore]}' of the {len(names)} names; "
            f"choose a value outside 0..{len(names) - 1}"
        )
    seen, unseen = _split(stanza, names, where)
    things = stanza.get("things")
    if things is not None:
        _indices(things, names, "things", where)
    return OwnDataset(
        name=name,
        source=_source(stanza, path, where),
        kind=kind,
        names=names,
        ignore=ignore,
        seen=seen,
        unseen=unseen,
        things=None if things is None else tuple(things),
        class_list=class_list,
        colors=colors,
    )


def _kind(stanza: Mapping[str, Any], where: str) -> str:
    if "segments" in stanza:
        if "annotations" not in stanza:
            raise UserError(f"{where}: 'segments' needs 'annotations', the panoptic JSON")
        return "panoptic"
    if "annotations" in stanza and "labels" in stanza:
        raise UserError(
            f"{where}: give either 'labels' or 'annotations' (with 'segments' for panoptic)"
        )
    if "annotations" not in stanza and "labels" not in stanza:
        raise UserError(f"{where}: lacks 'labels' or 'annotations'")
    return "instances" if "annotations" in stanza else "semantic"


def _names(stated: Any, path: Path, where: str) -> tuple[tuple[str, ...], str, tuple]:
    if isinstance(stated, str) and stated in class_list_names():
        classes = load_class_list(stated)
        return tuple(classes.names), stated, tuple(map(tuple, classes.colors))
    try:
        if isinstance(stated, str):
            names = tuple(Vocabulary.from_file(path.parent / stated).names)
        elif isinstance(stated, Sequence):
            names = tuple(Vocabulary.from_list(stated).names)
        else:
            raise UserError(
                f"names is {stated!r}; expected a file, a list, or a shipped class list"
            )
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return names, "", tuple(tuple(voc_color(i + 1)) for i in range(len(names)))


def _split(stanza: Mapping[str, Any], names: Sequence[str], where: str) -> tuple[tuple, tuple]:
    if "seen" not in stanza and "unseen" not in stanza:
        return (), ()
    sides = {
        side: _indices(stanza[side], names, side, where)
        for side in ("seen", "unseen")
        if side in stanza
    }
    everything = range(len(names))
    if "seen" not in sides:
        sides["seen"] = tuple(i for i in everything if i not in sides["unseen"])
    if "unseen" not in sides:
        sides["unseen"] = tuple(i for i in everything if i not in sides["seen"])
    both = set(sides["seen"]) & set(sides["unseen"])
    if both:
        raise UserError(f"{where}: '{names[min(both)]}' is both seen and unseen")
    return sides["seen"], sides["unseen"]


def _indices(stated: Any, names: Sequence[str], key: str, where: str) -> tuple[int, ...]:
    if not isinstance(stated, list):
        raise UserError(f"{where}: {key} is {stated!r}; expected a list of names")
    for name in stated:
        if name not in names:
            raise UserError(
                f"{where}: {key} holds '{name}', which is no name.{nearest(str(name), names)}"
            )
    return tuple(sorted(names.index(name) for name in stated))


def _source(stanza: Mapping[str, Any], path: Path, where: str) -> Source:
    folder = path.parent
    fields: dict[str, Any] = {
        k: folder / Path(str(stanza[k])).expanduser() for k in _PATHS if k in stanza
    }
    if "list" in fields:
        fields["listing"] = fields.pop("list")
    for key in ("label_suffix", "segment_suffix", "recursive", "subset"):
        if key in stanza:
            fields[key] = stanza[key]
    suffix = stanza.get("image_suffix", SUFFIXES)
    fields["image_suffix"] = (suffix,) if isinstance(suffix, str) else tuple(suffix)
    rules = stanza.get("label_rule", ())
    rules = (rules,) if isinstance(rules, str) else tuple(rules)
    for rule in rules:
        if rule not in rule_names():
            known = rule_names()
            raise UserError(
                f"{where}: unknown label_rule '{rule}'.{nearest(str(rule), known)} "
                f"Known: {', '.join(known)}"
            )
    return Source(**fields, label_rule=rules)
