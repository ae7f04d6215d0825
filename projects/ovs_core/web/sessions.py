"""Visitors of the page and what is theirs: files, open tabs, results. No visitor meets another's.

A visitor is a browser with a cookie that nobody can guess. Whatever is stored for a visitor gets a
ticket, a random name that holds for this visitor only. A request names tickets and never paths, so
that no request can reach any other file of this machine.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from ..errors import UserError
from ..files.pictures import SUFFIXES
from ..files.writing import atomic_write
from .attempts import Attempt
from .limits import MEBI, Bounds

logger = logging.getLogger(__name__)

KEPT_SUFFIXES = (*SUFFIXES, ".zip")
NAME_LENGTH, SUFFIX_LENGTH = 120, 16  # characters of a file name that are kept
# What a download needs: the name of the picture, and what the methods made of it.
Made = tuple[str, tuple[Attempt, ...]]


@dataclass(frozen=True)
class Stored:
    """A file of a visitor.

    Attributes:
        path: where it lies.
        name: what the visitor calls it, without any folder.
        size: in bytes.
    """

    path: Path
    name: str
    size: int


@dataclass
class Visitor:
    """One browser.

    Attributes:
        token: value of its cookie.
        folder: of its files.
        seen: time of its last request.
        files: by ticket, oldest first.
        tabs: names of its open pages, oldest first, with the newest result of each.
    """

    token: str
    folder: Path
    seen: float
    files: OrderedDict[str, Stored] = field(default_factory=OrderedDict)
    tabs: OrderedDict[str, Made | None] = field(default_factory=OrderedDict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(stored.size for stored in self.files.values())


class Visitors:
    """All visitors, within bounds. Safe to use from several threads.

    Args:
        folder: of all files; each visitor gets a folder in it.
        bounds: what is kept.
        forget_tab: called with the name of each tab that is dropped.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        folder: Path,
        bounds: Bounds | None = None,
        forget_tab: Callable[[str], object] = lambda tab: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cookie = f"ovsuite_{secrets.token_hex(4)}"  # cookies do not tell ports apart
        self.bounds = bounds or Bounds()
        self.forget_tab = forget_tab
        self._folder = folder
        self._clock = clock
        self._lock = threading.RLock()
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()  # longest unseen first

    def enter(self) -> Visitor:
        """Welcome a new visitor; the one who was longest away may have to go for it."""
        with self._lock:
            token = secrets.token_urlsafe(32)
            visitor = Visitor(token, self._folder / secrets.token_hex(16), self._clock())
            self._visitors[token] = visitor
            self.sweep()
            return visitor

    def find(self, token: str | None) -> Visitor | None:
        """Recognise a visitor by the cookie; None if there is none of this name (any more)."""
        with self._lock:
            visitor = self._visitors.get(token or "")
            if visitor is not None:
                visitor.seen = self._clock()
                self._visitors.move_to_end(visitor.token)
            return visitor

    def store(self, visitor: Visitor, name: str, content: bytes) -> str:
        """Keep a file for a visitor.

        Args:
            visitor: whose it is.
            name: as the visitor calls it.
            content: of the file.

        Returns:
            The ticket: letters, digits, ``_`` and ``-``, and the suffix of a picture or zip file.

        Raises:
            UserError: if it cannot be written; nothing else is lost then.
        """
        name = plain_name(name)
        suffix = Path(name).suffix.lower()
        ticket = secrets.token_urlsafe(24) + (suffix if suffix in KEPT_SUFFIXES else "")
        path = visitor.folder / ticket
        try:
            visitor.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic_write(path, content)
        except OSError as error:
            logger.warning("%s: %s; make room there, or set TMPDIR", visitor.folder, error.strerror)
            raise UserError(
                f"{name} cannot be kept in this page's folder for uploads and results "
                f"({error.strerror}); try again when there is room on the machine that serves it"
            ) from error
        with self._lock:
            visitor.files[ticket] = Stored(path, name, len(content))
            self._bound_files(visitor)
            if visitor.token not in self._visitors:  # dropped while this was written
                self._remove_files(visitor)
        return ticket

    def file(self, visitor: Visitor, ticket: object) -> Stored | None:
        """Look a ticket up among this visitor's.

        Returns:
            The file, or None for whatever else ``ticket`` is.
        """
        with self._lock:
            stored = visitor.files.get(ticket) if isinstance(ticket, str) else None
        if stored is None or not stored.path.is_file():
            return None
        # Nobody but this process writes there; a link would be a sign that somebody does.
        own = visitor.folder.resolve() / stored.path.name
        return stored if stored.path.resolve() == own else None

    def claim(self, visitor: Visitor, tab: str) -> bool:
        """Note that a tab is this visitor's, unless it is another's.

        Returns:
            Whether it is this visitor's.
        """
        with self._lock:
            if any(tab in other.tabs for other in self._visitors.values() if other is not visitor):
                return False
            visitor.tabs.setdefault(tab, None)
            visitor.tabs.move_to_end(tab)
            while len(visitor.tabs) > self.bounds.tabs:
                self.forget_tab(visitor.tabs.popitem(last=False)[0])
            return True

    def keep(self, visitor: Visitor, tab: str, made: Made | None) -> None:
        """Remember what a tab shows now, if anything, and forget older results beyond the bound."""
        with self._lock:
            if tab not in visitor.tabs:
                return  # it was dropped meanwhile
            visitor.tabs[tab] = made
            visitor.tabs.move_to_end(tab)
            room = self.bounds.memory_megabytes * MEBI
            used = sum(_bytes_of(kept) for _, _, kept in self._results())
            for owner, other, old in self._results():
                if used <= room or (owner is visitor and other == tab):
                    return
                used -= _bytes_of(old)
                owner.tabs[other] = None

    def recall(self, visitor: Visitor, tab: str) -> Made | None:
        """Newest result of a tab; None if there is none (any more)."""
        with self._lock:
            return visitor.tabs.get(tab)

    def sweep(self) -> None:
        """Forget who has been away for long, and the longest away if there are too many."""
        with self._lock:
            now = self._clock()
            for visitor in list(self._visitors.values()):
                if now - visitor.seen > self.bounds.seconds:
                    self._drop(visitor)
            # Who has stored nothing goes first: whoever opens many pages drives nobody out.
            order = sorted(
                list(self._visitors.values())[:-1], key=lambda v: (bool(v.files or v.tabs), v.seen)
            )
            for visitor in order[: max(0, len(order) + 1 - self.bounds.visitors)]:
                self._drop(visitor)

    def _results(self) -> Iterator[tuple[Visitor, str, Made]]:
        """All results, those of the longest unseen visitor first."""
        for visitor in list(self._visitors.values()):
            for tab, made in list(visitor.tabs.items()):
                if made is not None:
                    yield visitor, tab, made

    def _bound_files(self, writer: Visitor) -> None:
        self._drop_oldest(writer, writer.size - self.bounds.visitor_megabytes * MEBI)
        excess = sum(v.size for v in self._visitors.values()) - self.bounds.megabytes * MEBI
        for visitor in list(self._visitors.values()):
            excess -= self._drop_oldest(visitor, excess, spare=visitor is writer)

    def _drop_oldest(self, visitor: Visitor, excess: float, *, spare: bool = True) -> int:
        """Delete files until ``excess`` bytes are free; ``spare`` keeps the newest.

        Returns:
            How many bytes became free.
        """
        freed = 0
        while freed < excess and len(visitor.files) > spare:
            _, stored = visitor.files.popitem(last=False)
            stored.path.unlink(missing_ok=True)
            freed += stored.size
        return freed

    def _drop(self, visitor: Visitor) -> None:
        del self._visitors[visitor.token]
        for tab in visitor.tabs:
            self.forget_tab(tab)
        visitor.tabs.clear()
        self._remove_files(visitor)

    def _remove_files(self, visitor: Visitor) -> None:
        visitor.files.clear()
        # A file that is being written right now outlives this; ``store`` removes it then.
        shutil.rmtree(visitor.folder, ignore_errors=True)


def plain_name(name: str) -> str:
    """Reduce a visitor's name of a file to its last part, in characters that can be shown."""
    last = PureWindowsPath(name).name  # knows both separators
    shown = "".join(character for character in last if character.isprintable()).strip()
    stem, suffix = Path(shown).stem, Path(shown).suffix[:SUFFIX_LENGTH]
    return stem[: NAME_LENGTH - SUFFIX_LENGTH] + suffix or "picture"


def _bytes_of(made: Made) -> int:
    results = [attempt.result for attempt in made[1] if attempt.result is not None]
    arrays = {id(array): array for r in results for array in (r.image, r.labels, r.segment_ids)}
    return sum(array.nbytes for array in arrays.values() if array is not None)
