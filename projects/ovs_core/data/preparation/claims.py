"""Which files are ours to write.

A folder that we fill carries a marker; a folder with files but no marker belongs to the user and
is left alone. So is an annotation file that does not say that we made it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files.json_files import parse_json
from ...files.writing import remove_unfinished, write_json

MARKER = ".made_by_ovsuite.json"
_SIGNED = '{"info": {"made_by": "ovsuite"}'
_logger = logging.getLogger(__name__)


def claim_folder(folder: Path, recipe: str) -> None:
    """Make a folder ours, or refuse.

    Args:
        folder: made if absent.
        recipe: what its files are; another recipe in the marker is refused.

    Raises:
        UserError: if the folder holds files that we did not make, or made in another way.
    """
    marker = folder / MARKER
    if marker.is_file():
        stated = parse_json(marker.read_text(encoding="utf-8")).get("recipe")
        if stated != recipe:
            raise UserError(f"{folder}: was made as '{stated}', not '{recipe}'; move it away first")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"{folder}: holds files that this command did not make, so it leaves them alone. If "
            "they are the prepared labels, nothing is left to do (`ovsuite check-dataset` tells); "
            "otherwise move the folder away and run again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    write_json(marker, {"recipe": recipe}, compact=True)


def write_annotations(path: Path, content: Mapping[str, Any]) -> None:
    """Write an annotation file that says that we made it.

    Raises:
        UserError: if a file of that name exists that this suite did not write.
    """
    if path.exists() and not _is_ours(path):
        raise UserError(f"{path}: exists and was not made by this command; move it away first")
    write_json(path, {"info": {"made_by": "ovsuite"}, **content}, compact=True)
    _logger.info("wrote %s", path)


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return file.read(64).startswith(_SIGNED)
