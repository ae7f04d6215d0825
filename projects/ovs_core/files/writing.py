"""Writing files so that a reader never meets half of one.

Everything that the suite writes in one go is written by this module: text, bytes, JSON, pictures,
and what a library writes to a path. Logs and records that grow line by line are not.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import UserError

# Of zlib's ways the fastest for photographs, and for label maps as small as the slowest.
PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}
# The temporary names of `atomic_path`; until 0.2.0 the file's own name stood before the number.
_UNFINISHED = re.compile(
    r"\.[0-9a-f]{12}\.part(\.[^.]*)?|\..+\.(?=[a-z]*\d)[0-9a-z]{2,12}\.part(\.[^.]*)?", re.DOTALL
)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Lend a temporary path beside ``path`` that takes its place when the block ends well.

    The data reach the disk before the name does. If the block raises, the old file stays.

    Args:
        path: the final file; missing folders above it are made.

    Yields:
        Path to write to, with the same suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the stem, so that every name that fits the disk has a temporary one that fits, too.
    part = path.with_name(f".{secrets.token_hex(6)}.part{path.suffix}")
    part.touch(exist_ok=False)
    mode = part.stat().st_mode
    try:
        yield part
        part.chmod(mode)  # some libraries, such as safetensors, let only the owner read
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Lend an empty folder beside ``path`` that takes its place when the block ends well.

    One process at a time may fill a folder. What a killed one left behind is removed by the next,
    which is why the temporary name is always the same.

    Args:
        path: the final folder; what it held is gone afterwards.

    Yields:
        Folder to fill.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    if path.exists():
        shutil.rmtree(path)
    part.replace(path)


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write a file in one step.

    Args:
        path: the final file.
        content: bytes, or text that is stored as UTF-8.
    """
    with atomic_path(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def json_text(content: object, *, compact: bool = False) -> str:
    """Spell JSON as all files of the suite do.

    Args:
        content: what JSON knows, numpy arrays and numbers; NaN and infinity become null.
        compact: one line for programs, in place of indented lines for people.
    """
    indent = None if compact else 2
    return json.dumps(_plain(content), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, content: object, *, compact: bool = False) -> None:
    """Write ``json_text`` in one step.

    Args:
        path: the final file.
        content: see ``json_text``.
        compact: see ``json_text``.
    """
    text = json_text(content, compact=compact)
    # A file name that is no UTF-8 holds lone surrogates; the escapes of Python and JSON are alike.
    atomic_write(path, text.encode("utf-8", "backslashreplace"))


def save_picture(picture: np.ndarray, path: str | Path, *, software: str = "") -> Path:
    """Write a picture or a label map in one step.

    Args:
        picture: (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16.
        path: the final file, whose suffix chooses the kind; missing folders are made.
        software: stands in a PNG as what made it, by which its maker knows it again.

    Returns:
        The path.
    """
    path = Path(path)
    options: dict[str, Any] = dict(PNG) if path.suffix.lower() == ".png" else {}
    if software:
        options["pnginfo"] = about = PngInfo()
        about.add_text("Software", software)
    with atomic_path(path) as part:
        Image.fromarray(picture).save(part, **options)
    return path


def remove_unfinished(folder: Path) -> None:
    """Delete the halves of files that a killed process left in a folder, and nothing else.

    Args:
        folder: in which no other process writes now; one that does not exist holds no halves.
    """
    for path in folder.glob(".*.part*"):
        if _UNFINISHED.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def check_output_dir(path: str | Path) -> Path:
    """Make a folder and make sure that files can be written into it.

    Args:
        path: the folder.

    Returns:
        The folder.

    Raises:
        UserError: if it cannot be made or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write into this folder ({error.strerror}); choose another one"
        ) from error
    return folder


def _plain(value: object) -> object:
    """Turn arrays, numpy numbers and what is no number into what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
