"""What every annotation file of many pictures is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from .annotations import Labelled


class AnnotationFile(ABC):
    """A file that grows picture by picture, and merges with what is there.

    Args:
        path: the file.
        merge: keep what is there.
        about: see ``signed``.
    """

    def __init__(self, path: Path, merge: bool, about: Mapping[str, object]) -> None:
        self.path, self.merge, self.about = path, merge, about
        self.names: set[str] = set()  # of the pictures of this run

    @abstractmethod
    def check_earlier(self) -> None:
        """Refuse a file that nobody may replace, or that cannot be merged with.

        Raises:
            UserError: names the file.
        """

    @abstractmethod
    def open(self, stack: ExitStack) -> AnnotationFile:
        """Begin to write; the file appears when the stack is left without an error."""

    @abstractmethod
    def add(self, one: Labelled, name: str) -> None:
        """Write the annotations of a picture.

        Args:
            one: the picture.
            name: its file name.

        Raises:
            UserError: if it has annotations that nobody may replace, see ``merge``.
        """

    @abstractmethod
    def finish(self) -> None:
        """Write what is kept of the earlier file, and what stands once in a file.

        Raises:
            UserError: if there is something to keep, and merging was not asked for.
        """
