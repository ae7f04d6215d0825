"""One of several processes that share a work: which part of it is its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ..errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class Shard:
    """A part of a work; it takes every ``count``-th item, beginning with its own number.

    Attributes:
        number: from 1.
        count: of all parts.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/4``.

        Raises:
            UserError: if it is no number from 1 to a count.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"shard '{text}' is no NUMBER/COUNT such as 1/4, 2/4, 3/4 or 4/4")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.number}/{self.count}"

    def take(self, items: Iterable[T]) -> Iterator[T]:
        """Give the items of this part, in their order."""
        return itertools.islice(items, self.number - 1, None, self.count)

    def share(self, total: int) -> int:
        """How many of so many items are of this part."""
        return len(range(self.number - 1, total, self.count))
