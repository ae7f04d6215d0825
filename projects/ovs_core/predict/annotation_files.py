"""Annotation files of many pictures, written one picture after the other.

``annotations_coco.json``, ``annotations_polygons.json``, ``annotations_panoptic.json`` with a
folder of PNGs of that name, and ``annotations.csv``. A file that is there already gives way only if
all in it is ours, untouched, and made anew; what else it holds is kept, if asked to, by merging.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import check_choice
from ..files.writing import check_output_dir
from .annotation_contract import AnnotationFile
from .annotations import FORMATS, Labelled
from .coco_files import InstanceFile, PanopticFile
from .csv_files import TableFile


def save_annotations(
    labelled: Iterable[Labelled],
    folder: str | Path,
    formats: Sequence[str] = FORMATS,
    *,
    merge: bool = False,
    about: Mapping[str, object] | None = None,
    root: str | Path = "",
) -> list[Path]:
    """Write what results say as annotations.

    Args:
        labelled: the pictures, taken one after the other.
        folder: made if absent.
        formats: some of ``FORMATS``.
        merge: add to files that are there. What the suite made of the same pictures, and nobody
            changed since, is replaced; all else is kept as it is.
        about: stands in the provenance of each annotation, for a reader.
        root: file names of pictures are relative to it; names alone where they are not below it.

    Returns:
        The files.

    Raises:
        UserError: for an unknown format, or if a file holds what would be lost.
    """
    folder = check_output_dir(folder)
    with contextlib.ExitStack() as stack:
        files = [file.open(stack) for file in _files(folder, formats, merge, about or {})]
        for one in labelled:
            name = _file_name(one, root)
            for file in files:
                file.add(one, name)
        for file in files:
            file.finish()
    return [file.path for file in files]


def check_annotations(folder: str | Path, formats: Sequence[str], *, merge: bool) -> None:
    """Refuse before any work what ``save_annotations`` would refuse after it.

    Args:
        folder: see ``save_annotations``.
        formats: see ``save_annotations``.
        merge: see ``save_annotations``.

    Raises:
        UserError: names the file.
    """
    for file in _files(Path(folder), formats, merge, {}):
        file.check_earlier()


def _files(
    folder: Path, formats: Sequence[str], merge: bool, about: Mapping[str, object]
) -> list[AnnotationFile]:
    for name in formats:
        check_choice("format", name, FORMATS)
    made: dict[str, AnnotationFile] = {
        "coco": InstanceFile(folder / "annotations_coco.json", merge, about),
        "polygons": InstanceFile(folder / "annotations_polygons.json", merge, about, polygons=True),
        "panoptic": PanopticFile(folder / "annotations_panoptic.json", merge, about),
        "csv": TableFile(folder / "annotations.csv", merge, about),
    }
    return [made[name] for name in dict.fromkeys(formats)]


def _file_name(one: Labelled, root: str | Path) -> str:
    """What a file calls a picture; one from memory is called as its result."""
    path = Path(one.picture)
    if not path.is_absolute():
        return f"{one.stem}.png"
    is_below = bool(str(root)) and path.is_relative_to(Path(root).resolve())
    return path.relative_to(Path(root).resolve()).as_posix() if is_below else path.name
