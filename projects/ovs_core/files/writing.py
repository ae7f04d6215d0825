"""Writing files so that a reader never meets half of one.

Everything that the suite writes in one go is written by this module: text, bytes, JSON, pictures,
and what a library writes to a path. Logs and records that grow line by line are not.
"""

from __future__ import annotations

import contextlib
import errno
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
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import UserError

if TYPE_CHECKING:  # who writes no tensor needs no torch
    from torch import Tensor

# Of zlib's ways the fastest for photographs, and for label maps as small as the slowest.
PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}
_OF_DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
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

    Raises:
        OSError: if it cannot be written, for example because the disk is full; it names ``path``.
    """
    path = Path(path)
    # Without the stem, so that every name that fits the disk has a temporary one that fits, too.
    part = path.with_name(f".{secrets.token_hex(6)}.part{path.suffix}")
    with errors_name(path, part):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch(exist_ok=False)
        mode = part.stat().st_mode
        with _removed_unless_moved(part):
            yield part
            part.chmod(mode)  # some libraries, such as safetensors, let only the owner read
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)


@contextlib.contextmanager
def _removed_unless_moved(part: Path) -> Iterator[None]:
    try:
        yield
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def errors_name(path: str | Path, part: Path | None = None) -> Iterator[None]:
    """Let what cannot be written name a place that a person knows; a full disk names none.

    Args:
        path: file or folder that is written in the block.
        part: what it is called until it is whole.

    Raises:
        OSError: what the block raised, with ``path`` as its file.
    """
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None and error.errno in _OF_DISKS
        if error.errno is None or not (unnamed or error.filename in (part, str(part))):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@contextlib.contextmanager
def atomic_text(path: str | Path) -> Iterator[TextIO]:
    """Lend a text file, UTF-8, that takes the place of ``path`` when the block ends well.

    Args:
        path: the final file.

    Yields:
        File to write to, piece by piece.
    """
    with atomic_path(path) as part:
        with open(part, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            yield file


@contextlib.contextmanager
def atomic_binary(path: str | Path) -> Iterator[BinaryIO]:
    """Lend a file of bytes that takes the place of ``path`` when the block ends well.

    Args:
        path: the final file.

    Yields:
        File to write to, piece by piece.
    """
    with atomic_path(path) as part, open(part, "wb") as file:
        yield file
        file.flush()


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Lend an empty folder beside ``path`` that takes its place when the block ends well.

    One process at a time may fill a folder. What a killed one left behind is removed by the next,
    which is why the temporary name is always the same.

    Args:
        path: the final folder; what it held is gone afterwards.

    Yields:
        Folder to fill.

    Raises:
        OSError: if it cannot be written; what there was stays.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with errors_name(path, part):
            part.mkdir(parents=True)
            yield part
            if path.exists():
                shutil.rmtree(path)
            part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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


def save_torch(path: str | Path, content: object) -> None:
    """Write what ``torch.load(weights_only=True)`` reads, in one step.

    Args:
        path: the final file.
        content: tensors and plain values in lists and maps.

    Raises:
        OSError: if it cannot be written.
    """
    import torch

    with atomic_path(path) as part, open(part, "wb") as file:
        try:
            torch.save(content, file)  # given a name, it would not say why it cannot write
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch ends the archive all the same
                raise error.__context__ from error
            raise


def save_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a ``.safetensors`` file in one step.

    Args:
        path: the final file.
        tensors: name -> contiguous tensor.
        metadata: texts that are kept beside them.

    Raises:
        OSError: if it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(path) as part:
        try:
            save_file(dict(tensors), part, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


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
    except (OSError, ValueError) as error:  # ValueError: a name that no disk can hold
        reason = getattr(error, "strerror", error)
        raise UserError(
            f"{folder}: cannot write into this folder ({reason}); choose another one"
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
