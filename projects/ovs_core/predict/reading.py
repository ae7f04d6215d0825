"""What a person may name as input: pictures, folders, videos, shards, lists, addresses of all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..files.addresses import (
    Place,
    absolute,
    is_remote,
    list_address,
    read_place,
    to_place,
)
from ..files.digests import digest, file_digest
from ..files.pictures import (
    SUFFIXES,
    LoadedPicture,
    PictureBytes,
    PictureSource,
    find_pictures,
    load_picture,
)
from .containers import PARQUET, TAR, read_members
from .parts import looks_like_result
from .video import SUFFIXES as VIDEO_SUFFIXES
from .video import count_frames, read_frames

LIST = ".txt"
_OF_MANY = (*VIDEO_SUFFIXES, TAR, PARQUET)


@dataclass(frozen=True)
class Input:
    """One picture: a file, a frame of a video, or a member of a file that holds many.

    Attributes:
        path: the file, or its address.
        stem: begins the names of its results.
        member: what it is called inside of the file; "" for the file itself.
        image: the frame of a video; None for what is read when its turn comes.
        fetch: gives what a picture file holds, where that is no file of this machine.
        error: why the file gives no (further) picture.
    """

    path: Place
    stem: str
    member: str = ""
    image: np.ndarray | None = field(default=None, repr=False)
    fetch: Callable[[], bytes] | None = field(default=None, repr=False)
    error: Exception | None = None

    @property
    def source(self) -> str:
        """Path, with the number of the frame or the name of the member behind it."""
        return f"{self.path}#{self.member}" if self.member else str(self.path)

    @property
    def identity(self) -> str:
        """What its result calls it: the whole path."""
        return absolute(self.source)

    @cached_property
    def _data(self) -> bytes | None:
        return None if self.fetch is None else self.fetch()

    def load(self) -> LoadedPicture:
        """Read the picture, with the notes on it.

        Raises:
            UserError: if it cannot be read.
        """
        if self.error is not None:
            raise self.error
        if self._data is not None:
            return load_picture(PictureBytes(self.source, self._data))
        return load_picture(self.path if self.image is None else self.image)

    def content(self) -> str:
        """Hash of what the file or the member holds, or of the pixels of a frame.

        Raises:
            UserError: if it cannot be read.
        """
        if self.image is not None:
            return digest(self.image.tobytes())
        if self._data is not None:
            return digest(self._data)
        try:
            return file_digest(self.path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class ReadPicture:
    """A picture that was read.

    Attributes:
        picture: its pixels.
        path: of its file; "" if there is none.
        content: ``picture``, the hash of its file; empty if there is none.
    """

    picture: LoadedPicture
    path: str
    content: dict[str, str]


def read_source(source: PictureSource) -> ReadPicture:
    """Read a picture of any source.

    Raises:
        UserError: if it cannot be read.
    """
    path = str(source) if isinstance(source, (str, Path)) else ""
    # Before the pixels are read: what changes meanwhile is then seen as changed.
    content = {"picture": file_digest(path)} if path and Path(path).is_file() else {}
    return ReadPicture(load_picture(source), path, content)


def pictures_to_segment(folder: str | Path) -> list[Path]:
    """List a person's pictures in a folder, without those that the suite drew there.

    Raises:
        UserError: if there is none.
    """
    found = find_pictures(folder)
    own = [path for path in found if not looks_like_result(path)]
    if not own:
        raise UserError(f"{folder}: holds no picture but results of the suite")
    return own


def find_files(named: Sequence[str | Path]) -> list[Place]:
    """Turn pictures, videos, shards, folders, lists and addresses into a list of files, each once.

    Raises:
        UserError: for a path that does not exist, or a folder without pictures.
    """
    found: list[Place] = []
    for place in named:
        if isinstance(place, str) and is_remote(place):
            found += list_address(place, (*SUFFIXES, *_OF_MANY))
            continue
        path = Path(place)
        if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
            found += pictures_to_segment(path)
        elif path.suffix.lower() == LIST and os.path.isfile(path):
            found += _read_list(path)
        elif os.path.isfile(path):
            found.append(path)
        else:
            raise UserError(f"{path}: no such picture, video or folder")
    return list(dict.fromkeys(found))


class Named(NamedTuple):
    """A file, and what the files of its results begin with.

    Attributes:
        path: the file, or its address.
        stem: of its results; the folder of several.
    """

    path: Place
    stem: str

    @property
    def holds_many(self) -> bool:
        """Whether it gives several inputs."""
        return _suffix(self.path) in _OF_MANY


def name_files(files: Sequence[Place]) -> list[Named]:
    """Give files the names of their results, which differ."""
    return [Named(*pair) for pair in zip(files, _stems(files), strict=True)]


def read_inputs(files: Sequence[Place], every: int = 1) -> Iterator[Input]:
    """Go through the files; see ``read_named``.

    Args:
        files: of pictures, videos and shards.
        every: only each n-th frame of a video.
    """
    return read_named(name_files(files), every)


def read_named(files: Iterable[Named], every: int = 1) -> Iterator[Input]:
    """Go through the files; a video or a shard gives its pictures in a folder of its own.

    One that cannot be read gives an input that says so when it is loaded.

    Args:
        files: of pictures, videos and shards.
        every: only each n-th frame of a video.
    """
    for one in files:
        if not one.holds_many:
            fetch = partial(read_place, one.path) if isinstance(one.path, str) else None
            yield Input(one.path, one.stem, fetch=fetch)
            continue
        try:
            yield from _pictures_in(one, every)
        except Exception as error:  # whatever it is, the other files are not to blame
            yield Input(one.path, one.stem, error=error)


def _pictures_in(one: Named, every: int) -> Iterator[Input]:
    if _suffix(one.path) in VIDEO_SUFFIXES:
        for number, image in read_frames(one.path, every):
            yield Input(one.path, f"{one.stem}/{number:06d}", f"{number}", image)
        return
    for name, stem, data, error in read_members(one.path):
        yield Input(one.path, f"{one.stem}/{stem}", name, fetch=partial(bytes, data), error=error)


def frame_folders(files: Sequence[Place]) -> list[str]:
    """Names of the folders that hold the results of videos and shards, see ``read_inputs``."""
    return [one.stem for one in name_files(files) if one.holds_many]


def count_inputs(files: Sequence[Place], every: int = 1) -> int | None:
    """How many inputs the files give; None if a video or a shard does not say how long it is."""
    total = 0
    for path in files:
        if _suffix(path) in (TAR, PARQUET):
            return None
        try:
            count = count_frames(path, every) if _suffix(path) in VIDEO_SUFFIXES else 1
        except Exception:  # `read_inputs` says what it is
            count = 1  # the line that says so
        if not count:
            return None
        total += count
    return total


def _read_list(path: Path) -> list[Place]:
    """Read a file with a path or an address per line; those that are not there fail in their turn.

    Raises:
        UserError: if it is no text, or empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a list of pictures ({error})") from error
    found = [to_place(line.strip()) for line in lines if line.strip()]
    if not found:
        raise UserError(f"{path}: names no picture; give a path or an address per line")
    return found


def _suffix(path: Place) -> str:
    return PurePosixPath(path).suffix.lower()


def _stems(files: Sequence[Place]) -> list[str]:
    """Names of the results: the files' own, told apart by suffix and folder where they repeat."""
    stems = [PurePosixPath(path).stem for path in files]
    for longer in (_with_suffix, _with_folders):
        counts = Counter(stems)
        stems = [longer(p) if counts[s] > 1 else s for p, s in zip(files, stems, strict=True)]
    return stems


def _with_suffix(path: Place) -> str:
    return PurePosixPath(path).name.replace(".", "_")


def _with_folders(path: Place) -> str:
    folders = PurePosixPath(absolute(path)).parts[:-1]
    named = [part.rstrip(":") for part in folders if part != "/"]
    return "_".join((*named, _with_suffix(path)))
