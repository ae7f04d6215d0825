"""How much a visitor may send, and how much of this machine all visitors together may take."""

from __future__ import annotations

from dataclasses import dataclass

MEBI = 2**20


@dataclass(frozen=True)
class Limits:
    """How much a visitor may send.

    Attributes:
        megabytes: size of a picture file.
        megapixels: millions of pixels of a picture.
        words: number of classes.
        texts: number of all synonyms of all classes.
        characters: length of everything typed.
        word_characters: length of one synonym.
    """

    megabytes: float = 20
    megapixels: float = 25
    words: int = 1000
    texts: int = 3000
    characters: int = 50_000
    word_characters: int = 200

    @property
    def bytes(self) -> int:
        """Size of a picture file in bytes."""
        return round(self.megabytes * MEBI)


@dataclass(frozen=True)
class Bounds:
    """What is kept for visitors; the oldest goes first, and what came last is never dropped.

    Attributes:
        seconds: after which a visitor who sends nothing is forgotten, with all files.
        visitors: number of visitors.
        tabs: open pages of one visitor.
        runs: runs of one visitor that wait or are under way.
        visitor_megabytes: files of one visitor: uploads, pictures of results, downloads.
        megabytes: files of all visitors.
        memory_megabytes: results of all visitors in memory, from which downloads are made.
    """

    seconds: float = 3600
    visitors: int = 32
    tabs: int = 4
    runs: int = 4
    visitor_megabytes: float = 200
    megabytes: float = 2000
    memory_megabytes: float = 128


QUEUED = 16  # runs of all visitors that may wait for a model
REQUEST_BYTES = MEBI  # a request that is no picture
UNREAD = 64  # messages about runs that ended, kept for a tab that may still come to read them
CONNECTIONS = 256  # open at the same time
UPLOADS = 2  # pictures of one visitor on their way; and of all, that are written at a time
UPLOAD_SECONDS = 600  # that a picture may be on its way
