"""What values a config key may have, beyond its type.

A key's range is stated beside the key, in the ``config.py`` that adds it::

    declare_ranges("MODEL.MYMETHOD", SCALE=above(0), SIZES=list_of(at_least(1), "1.."))

``check_ranges`` holds a finished config against all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UserError

MANY = 1000  # items; no list of a config has as many
_LARGEST = 2**63 - 1  # what a whole number of a tensor can be; no key means more


@dataclass(frozen=True)
class Range:
    """An interval of numbers.

    Attributes:
        low: smallest value.
        high: largest value.
        without_low: whether ``low`` itself is too small.
        without_high: whether ``high`` itself is too large.
        also: single values outside the interval that have a meaning of their own.
    """

    low: float = -math.inf
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False
    also: tuple[float, ...] = ()

    def holds(self, value: object) -> bool:
        """Whether a value is a number of this interval."""
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        if isinstance(value, float) and math.isnan(value):  # an int may be too large for isnan
            return False
        if value in self.also:
            return True
        above = value > self.low if self.without_low else value >= self.low
        below = value < self.high if self.without_high else value <= self.high
        return above and below and abs(value) <= _LARGEST

    def __str__(self) -> str:
        """In words, for messages and the reference of keys."""
        parts = []
        if self.low == self.high:
            return " or ".join(f"{value:g}" for value in (self.low, *self.also))
        if self.low > -math.inf:
            parts.append(f"{'above' if self.without_low else 'at least'} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.without_high else 'at most'} {self.high:g}")
        text = " and ".join(parts) or "any finite number"
        return " or ".join([text, *(f"{value:g}" for value in self.also)])


@dataclass(frozen=True)
class ListOf:
    """A list whose items all lie in a range.

    Attributes:
        item: range of each item, ``str`` for texts, None for whatever else.
        least: smallest number of items.
        most: largest number of items.
        or_none: whether the list may be empty although ``least`` is larger.
    """

    item: Range | type[str] | None = None
    least: int = 0
    most: int = MANY
    or_none: bool = False

    def holds(self, value: object) -> bool:
        """Whether a value is such a list."""
        if not isinstance(value, (list, tuple)):
            return False
        if not (self.least <= len(value) <= self.most or (self.or_none and not value)):
            return False
        if self.item is str:
            return all(isinstance(item, str) and item.strip() for item in value)
        return not isinstance(self.item, Range) or all(map(self.item.holds, value))

    def __str__(self) -> str:
        """In words, for messages and the reference of keys."""
        what = f"a list of numbers {self.item}" if isinstance(self.item, Range) else "a list"
        what = "a list of texts" if self.item is str else what
        if self.most >= MANY:
            count = f", {self.least} or more of them" if self.least else ""
        elif self.least == self.most:
            count = f", {self.least} of them"
        else:
            count = f", {self.least} to {self.most} of them"
        return what + count + (", or an empty one" if self.or_none else "")


Allowed = Range | ListOf

_DECLARED: dict[str, Allowed] = {}


def at_least(low: float, *, also: tuple[float, ...] = ()) -> Range:
    """Numbers from ``low`` on, and single values beside them."""
    return Range(low=low, also=also)


def above(low: float, *, also: tuple[float, ...] = ()) -> Range:
    """Numbers larger than ``low``, and single values beside them."""
    return Range(low=low, without_low=True, also=also)


def between(low: float, high: float) -> Range:
    """Numbers from ``low`` to ``high``, both included."""
    return Range(low=low, high=high)


def from_up_to(low: float, high: float) -> Range:
    """Numbers from ``low`` on that are smaller than ``high``, such as a share that is dropped."""
    return Range(low=low, high=high, without_high=True)


def any_number() -> Range:
    """Every finite number."""
    return Range()


def one_of(*values: float) -> Range:
    """A few single numbers."""
    return Range(low=values[0], high=values[0], also=values[1:])


def list_of(
    item: Range | None = None, *, least: int = 0, most: int = MANY, or_none: bool = False
) -> ListOf:
    """Lists of ``least`` to ``most`` items of a range; see ``ListOf``."""
    return ListOf(item, least, most, or_none)


def texts(*, least: int = 0, most: int = MANY) -> ListOf:
    """Lists of ``least`` to ``most`` texts that are not empty."""
    return ListOf(str, least, most)


def declare_ranges(prefix: str, **ranges: Allowed) -> None:
    """State the ranges of keys.

    Args:
        prefix: of the keys, without the last dot; "" for keys at the top.
        ranges: last part of the key -> what it may be.
    """
    dot = f"{prefix}." if prefix else ""
    _DECLARED.update({dot + name: allowed for name, allowed in ranges.items()})


def declared_ranges() -> dict[str, Allowed]:
    """Every key whose range is stated, in the order of their names."""
    return dict(sorted(_DECLARED.items()))


def check_ranges(values: Mapping[str, Any], source: str) -> None:
    """Refuse values outside their range.

    Args:
        values: dotted key -> value, such as ``dotted_keys`` gives them.
        source: file or command line, named in the message.

    Raises:
        UserError: names the first key, its value and what is allowed.
    """
    for key, value in values.items():
        allowed = _DECLARED.get(key)
        if allowed is not None and not allowed.holds(value):
            large = isinstance(value, int) and abs(value) > _LARGEST
            more = ", and of 64 bits" if large else ""
            raise UserError(f"{source}: {key} is {value!r}; it must be {allowed}{more}")
