"""What a person may name as input: pictures, folders of pictures, videos."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files.digests import digest, file_digest
from ..files.pictures import LoadedPicture, PictureSource, find_pictures, load_picture
from .parts import looks_like_result
from .video import SUFFIXES as VIDEO_SUFFIXES
from .video import count_frames, read_frames


@dataclass(frozen=True)
class Input:
    """One picture, or one frame of a video.

    Attributes:
        path: the file.
        stem: begins the names of its results.
        frame: its number; None for a picture.
        image: the frame; None for a picture, which is read when its turn comes.
        error: why a video gives no (further) frame.
    """

    path: Path
    stem: str
    frame: int | None = None
    image: np.ndarray | None = field(default=None, repr=False)
    error: Exception | None = None

    @property
    def source(self) -> str:
        """Path, with the number of the frame behind it."""
        return str(self.path) if self.frame is None else f"{self.path}#{self.frame}"

    @property
    def identity(self) -> str:
        """What its result calls it: the whole path."""
        return str(Path(self.source).resolve())

    def load(self) -> LoadedPicture:
        """Read the picture, with the notes on it.

        Raises:
            UserError: if it cannot be read.
        """
        if self.error is not None:
            raise self.error
        return load_picture(self.path if self.image is None else self.image)

    def content(self) -> str:
        """Hash of the file, or of the pixels of a frame.

        Raises:
            UserError: if the file cannot be read.
        """
        if self.image is not None:
            return digest(self.image.tobytes())
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


def find_files(named: Sequence[str | Path]) -> list[Path]:
    """Turn pictures, videos and folders into a list of files, each once.

    Raises:
        UserError: for a path that does not exist, or a folder without pictures.
    """
    found: list[Path] = []
    for path in map(Path, named):
        if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
            found += pictures_to_segment(path)
        elif os.path.isfile(path):
            found.append(path)
        else:
            raise UserError(f"{path}: no such picture, video or folder")
    return list(dict.fromkeys(found))


def read_inputs(files: Sequence[Path], every: int = 1) -> Iterator[Input]:
    """Go through the files; a video gives its frames in a folder of its own.

    A video that cannot be read gives an input that says so when it is loaded.

    Args:
        files: pictures and videos.
        every: only each n-th frame of a video.
    """
    for path, stem in zip(files, _stems(files), strict=True):
        if not _is_video(path):
            yield Input(path, stem)
            continue
        try:
            for number, image in read_frames(path, every):
                yield Input(path, f"{stem}/{number:06d}", number, image)
        except Exception as error:  # whatever it is, the other files are not to blame
            yield Input(path, stem, error=error)


def frame_folders(files: Sequence[Path]) -> list[str]:
    """Names of the folders that hold the results of videos, see ``read_inputs``."""
    return [stem for path, stem in zip(files, _stems(files), strict=True) if _is_video(path)]


def count_inputs(files: Sequence[Path], every: int = 1) -> int | None:
    """How many inputs the files give; None if a video does not say how long it is."""
    total = 0
    for path in files:
        try:
            count = count_frames(path, every) if _is_video(path) else 1
        except Exception:  # `read_inputs` says what it is
            count = 1  # the line that says so
        if not count:
            return None
        total += count
    return total


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _stems(files: Sequence[Path]) -> list[str]:
    """Names of the results: the files' own, told apart by suffix and folder where they repeat."""
    stems = [path.stem for path in files]
    for longer in (_with_suffix, _with_folders):
        counts = Counter(stems)
        stems = [longer(p) if counts[s] > 1 else s for p, s in zip(files, stems, strict=True)]
    return stems


def _with_suffix(path: Path) -> str:
    return path.name.replace(".", "_")


def _with_folders(path: Path) -> str:
    return "_".join((*path.resolve().parts[1:-1], _with_suffix(path)))
