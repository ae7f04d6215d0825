"""What a person may name as input: pictures, folders of pictures, videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files.pictures import LoadedPicture, find_pictures, load_picture
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
    """

    path: Path
    stem: str
    frame: int | None = None
    image: np.ndarray | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """Path, with the number of the frame behind it."""
        return str(self.path) if self.frame is None else f"{self.path}#{self.frame}"

    def load(self) -> LoadedPicture:
        """Read the picture, with the notes on it."""
        return load_picture(self.path if self.image is None else self.image)


def find_files(named: Sequence[str | Path]) -> list[Path]:
    """Turn pictures, videos and folders into a list of files, each once.

    Raises:
        UserError: for a path that does not exist, or a folder without pictures.
    """
    found: list[Path] = []
    for path in map(Path, named):
        if path.is_dir():
            found += find_pictures(path)
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path}: no such picture, video or folder")
    return list(dict.fromkeys(found))


def read_inputs(files: Sequence[Path], every: int = 1) -> Iterator[Input]:
    """Go through the files; a video gives its frames in a folder of its own.

    Args:
        files: pictures and videos.
        every: only each n-th frame of a video.
    """
    for path, stem in zip(files, _stems(files), strict=True):
        if _is_video(path):
            for number, image in read_frames(path, every):
                yield Input(path, f"{stem}/{number:06d}", number, image)
        else:
            yield Input(path, stem)


def count_inputs(files: Sequence[Path], every: int = 1) -> int | None:
    """How many inputs the files give; None if a video does not say how long it is."""
    counts = [count_frames(path, every) if _is_video(path) else 1 for path in files]
    return sum(counts) if all(counts) else None


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
