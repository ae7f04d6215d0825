"""The files of one result: which are ours, which are whole, and how they give way to new ones.

The record, ``<stem>_segments.json``, comes last and goes first, so that a set of files with a
record is whole. It holds a hash of every other part, of itself, and of all that the result was made
with: config, weights, words and the content of the picture. Label maps and overlays name the suite
in their header, so that the halves of a killed run are known as such.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.digests import digest, file_digest
from ..files.json_files import parse_json
from ..files.raster import open_raster
from ..files.writing import json_text, write_json

MAKER = "ovsuite"
RECORD = "segments.json"
PICTURES = ("labels.png", "segment_ids.png", "overlay.png")
PARTS = (*PICTURES, RECORD)
SHEET = "sheet.png"  # of a comparison
_OWN_ENDS = (*(f"_{part}" for part in PICTURES), SHEET)


def is_own_picture(path: str | Path) -> bool:
    """Whether a file is a picture that the suite drew, as its header says."""
    return _kind(Path(path)) == "ours"


def looks_like_result(path: str | Path) -> bool:
    """Whether a file is a picture that the suite drew and nobody renamed."""
    return str(path).endswith(_OWN_ENDS) and is_own_picture(path)


@dataclass(frozen=True)
class SavedResult:
    """What a folder holds under the name of one result.

    Attributes:
        folder: of the results.
        stem: begins the file names.
    """

    folder: Path
    stem: str

    def path(self, part: str) -> Path:
        """File of one of ``PARTS``."""
        return self.folder / f"{self.stem}_{part}"

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """The list of segments as it was written; None if it is absent, damaged or changed."""
        try:
            content = parse_json(self.path(RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or content.get("made_by") != MAKER:
            return None
        said = content.pop("check", None)  # records of 0.2.0 have none
        is_whole = said is None or said == digest(json_text(content))
        return content if is_whole and "picture" in content else None

    def write_record(self, content: Mapping[str, Any], parts: Sequence[str]) -> None:
        """Write the record, which makes a set of files whole.

        Args:
            content: what it says of the result.
            parts: the other files of the set; they are there already.
        """
        files = {part: file_digest(self.path(part)) for part in parts}
        full = {"made_by": MAKER, **content, "files": files}
        write_json(self.path(RECORD), {**full, "check": digest(json_text(full))})

    def clear(self) -> None:
        """Remove what the suite made, the record first, so that nothing old is left beside new."""
        own = [part for part in PICTURES if self._kind(part) in ("ours", "whole")]
        if self.record is not None:
            self.path(RECORD).unlink(missing_ok=True)
        for part in own:
            self.path(part).unlink(missing_ok=True)

    def check_free(self, picture: str, content: str) -> None:
        """Refuse to write where a person's file, or another picture's result, would be lost.

        Args:
            picture: what the new result calls its picture.
            content: hash of the picture.

        Raises:
            UserError: names the file that is in the way.
        """
        if not self._exists():
            return
        record = self.record
        if record is not None and not self._is_of(record, picture, content):
            raise UserError(
                f"{self.folder / self.stem}_*: holds the result of another picture "
                f"({record['picture']}); choose another folder or stem, or give overwrite=True"
            )
        kinds = {self.path(part): self._kind(part) for part in PARTS}
        known = {"ours", "whole"} & set(kinds.values())
        # What cannot be read is a damaged part of ours where the rest of the set is ours.
        strange = [p for p, kind in kinds.items() if kind == "strange" or
                   (kind == "damaged" and not known)]  # fmt: skip
        if strange:
            raise UserError(
                f"{strange[0]}: exists and was not made by the suite, or was changed since; choose "
                "another folder or stem, or give overwrite=True"
            )

    def stale(self, picture: str, made_with: Mapping[str, str]) -> str:
        """Say why this is no finished result.

        Args:
            picture: what the new result calls its picture.
            made_with: hashes of config, weights, words and picture.

        Returns:
            "" if it is finished and whole, else a few words; "new" if there is nothing.

        Raises:
            UserError: if something stands here that is not ours, see ``check_free``.
        """
        self.check_free(picture, made_with["picture"])
        record = self.record
        if record is None:
            return "an unfinished or damaged result" if self._exists() else "new"
        before = record.get("made_with", {})
        changed = [what for what, value in made_with.items() if before.get(what) != value]
        if changed:
            return f"other {' and '.join(changed)}"
        is_whole = all(self._kind(part) == "whole" for part in record.get("files", {"": ""}))
        return "" if is_whole else "a missing or damaged file"

    def _exists(self) -> bool:
        try:
            return any(self.path(part).exists() for part in PARTS)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise UserError(
                    f"{self.stem}: the name is too long for the names of its results; rename the "
                    "picture"
                ) from error
            raise

    def _is_of(self, record: Mapping[str, Any], picture: str, content: str) -> bool:
        same_content = record.get("made_with", {}).get("picture") == content
        return bool(record["picture"] == picture or same_content)

    def _kind(self, part: str) -> str:
        """``absent``, ``whole`` as recorded, ``ours``, ``damaged``, or ``strange``."""
        path, record = self.path(part), self.record
        if not path.exists():
            return "absent"
        if record is None:
            return _kind(path)
        if part == RECORD or "files" not in record:  # records of 0.2.0 have no hashes
            return "ours"
        if part not in record["files"]:
            return _kind(path)
        if record["files"][part] == file_digest(path):
            return "whole"
        return "damaged" if _kind(path) == "damaged" else "strange"


def _kind(path: Path) -> str:
    """What a file says of itself: ``ours``, ``strange``, or ``damaged`` if it cannot be read."""
    try:
        if path.suffix == ".json":
            # A list of segments of ours is known by its record; what can be read here was changed.
            return "strange" if parse_json(path.read_text(encoding="utf-8")) else "damaged"
        with open_raster(path) as image:
            maker = image.info.get("Software")
            image.verify()
        return "ours" if maker == MAKER else "strange"
    except (UserError, OSError, ValueError):
        return "damaged"
