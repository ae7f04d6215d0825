"""Reading and checking the YAML file that describes a person's datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError, check_choice, nearest
from ...files.pictures import SUFFIXES
from ...files.yaml_files import read_yaml
from ...words.class_lists import class_list_names, load_class_list, voc_color
from ...words.spelling import tidy
from ...words.vocabulary import BACKGROUND_MARK, Vocabulary
from ..label_rules import rule_names
from ..sources import Source
from .dataset import Classes, Kind, OwnDataset

KEYS = {
    "images": "folder of the pictures (required)",
    "labels": "folder of one-channel label files with a class index per pixel",
    "annotations": "COCO instance JSON, or panoptic JSON together with 'segments'",
    "segments": "folder of panoptic PNGs",
    "names": "file, list, or name of a shipped class list (required)",
    "things": "names of the countable classes (panoptic); default: 'isthing' of the JSON",
    "drop_categories": "names or ids of categories of the JSON that are no classes",
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
_FLAGS = ("recursive", "subset")
_ENDS = ("label_suffix", "segment_suffix")
_SEVERAL = ("image_suffix", "label_rule")


def register_yaml_datasets(*paths: str | Path) -> list[str]:
    """Register the datasets that YAML files describe.

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
    content = read_yaml(path)
    if not content:
        raise UserError(f"{path}: expected dataset names with their keys below them")
    return [parse_stanza(name, stanza, path) for name, stanza in content.items()]


def parse_stanza(name: str, stanza: Any, path: Path) -> OwnDataset:
    """Check one stanza.

    Args:
        name: of the dataset.
        stanza: its keys, see ``KEYS``.
        path: of the file, for messages and relative paths.

    Raises:
        UserError: naming the key and the mend.
    """
    where = f"{path}: dataset '{name}'"
    if not isinstance(stanza, Mapping):
        raise UserError(f"{where}: expected keys such as images, labels, names")
    for key in stanza:
        check_choice(f"{where}: a key", key, KEYS)
    for key in ("images", "names"):
        if key not in stanza:
            raise UserError(f"{where}: lacks '{key}', the {KEYS[key].removesuffix(' (required)')}")
    _check_values(stanza, where)
    kind, classes = _kind(stanza, where), _classes(stanza["names"], path, where)
    seen, unseen = _split(stanza, classes, where)
    things = stanza.get("things")
    if things is not None:
        things = [classes.names[i] for i in _indices(things, classes.names, "things", where)]
    return OwnDataset(
        name=name,
        source=_source(stanza, path, where),
        kind=kind,
        classes=classes,
        ignore=_ignore(stanza, classes.names, where),
        seen=seen,
        unseen=unseen,
        things=None if things is None else tuple(things),
        drop=_drop(stanza, kind, classes.names, where),
    )


def _check_values(stanza: Mapping[str, Any], where: str) -> None:
    """Refuse values of the wrong kind for the keys that other functions take as they are."""
    for key, value in stanza.items():
        texts = value if isinstance(value, list) else [value]
        is_text = bool(texts) and all(isinstance(text, str) and text for text in texts)
        if key in _FLAGS and not isinstance(value, bool):
            expected = "true or false"
        elif key in _PATHS and not (type(value) is int or (is_text and texts[0] is value)):
            expected = "a path"
        elif key in _ENDS and not (is_text and texts[0] is value):
            expected = "the end of a file name, such as .png"
        elif key in _SEVERAL and not is_text and value != []:
            expected = "a text, or a list of texts"
        else:
            continue
        raise UserError(f"{where}: {key} is {value!r}; expected {expected}")


def _ignore(stanza: Mapping[str, Any], names: Sequence[str], where: str) -> int:
    ignore = stanza.get("ignore", 255 if len(names) <= 255 else 65535)
    if not isinstance(ignore, int) or isinstance(ignore, bool) or ignore < 0:
        raise UserError(f"{where}: ignore is {ignore!r}; expected a label value such as 255")
    if ignore < len(names):
        raise UserError(
            f"{where}: ignore value {ignore} is class '{names[ignore]}' of the {len(names)} names; "
            f"choose a value outside 0..{len(names) - 1}"
        )
    return ignore


def _kind(stanza: Mapping[str, Any], where: str) -> Kind:
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


def _classes(stated: object, path: Path, where: str) -> Classes:
    if isinstance(stated, str) and stated in class_list_names():
        listed = load_class_list(stated)
        colors = tuple(tuple(color) for color in listed.colors)
        return Classes(tuple(listed.names), colors, class_list=stated)
    try:
        if isinstance(stated, str):
            words = Vocabulary.from_class_file(path.parent / Path(stated).expanduser())
        elif isinstance(stated, Sequence):
            words = Vocabulary.from_list([_spelt_out(name) for name in stated])
        else:
            raise UserError(
                f"names is {stated!r}; expected a file, a list, or a shipped class list"
            )
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    colors = tuple(tuple(voc_color(i + 1)) for i in range(len(words)))
    synonyms = tuple(entry.synonyms for entry in words)
    background = tuple(words.background_index)
    return Classes(tuple(words.names), colors, synonyms, background=background, notes=words.notes)


def _spelt_out(name: Any) -> Any:
    """Give the text of a list's entry ``background: sky``, which YAML takes for a mapping."""
    if isinstance(name, Mapping) and len(name) == 1:
        ((key, value),) = name.items()
        if isinstance(value, str) and BACKGROUND_MARK.fullmatch(f"{key}:"):
            return f"{key}: {value}"
    return name


def _drop(
    stanza: Mapping[str, Any], kind: Kind, names: Sequence[str], where: str
) -> tuple[str | int, ...]:
    drop = stanza.get("drop_categories", [])
    if not isinstance(drop, list) or not all(type(one) in (str, int) for one in drop):
        raise UserError(f"{where}: drop_categories is {drop!r}; expected a list of names or ids")
    if drop and kind == "semantic":
        raise UserError(f"{where}: drop_categories is of 'annotations'; label files have none")
    if both := sorted(set(map(str, drop)) & set(names)):
        raise UserError(f"{where}: '{both[0]}' is both a name and one of drop_categories")
    return tuple(drop)


def _split(
    stanza: Mapping[str, Any], classes: Classes, where: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    names = classes.names
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
    _refuse_split_background(classes, sides["unseen"], where)
    return sides["seen"], sides["unseen"]


def _refuse_split_background(classes: Classes, unseen: Sequence[int], where: str) -> None:
    hidden = [i for i in classes.background if i in unseen]
    if hidden and len(hidden) < len(classes.background):
        other = next(i for i in classes.background if i not in unseen)
        raise UserError(
            f"{where}: '{classes.names[hidden[0]]}' and '{classes.names[other]}' are background "
            "and count as one class, but only the first is unseen; put both on one side"
        )


def _indices(stated: Any, names: Sequence[str], key: str, where: str) -> tuple[int, ...]:
    if not isinstance(stated, list):
        raise UserError(f"{where}: {key} is {stated!r}; expected a list of names")
    stated = [tidy(str(name)) for name in stated]
    for name in stated:
        if name not in names:
            raise UserError(
                f"{where}: {key} holds '{name}', which is no name.{nearest(name, names)}"
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
        check_choice(f"{where}: label_rule", rule, rule_names())
    return Source(**fields, label_rule=rules)
