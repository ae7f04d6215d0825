"""What a printed table says twice: figures that follow from others of the same table.

A figure contradicts the others only if no unrounded figures could be printed as all of them are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .pasted_table import Number, PastedTable

MEAN = re.compile(r"^(avg|average|mean)\b", re.I)
NO_SCORE = re.compile(r"param|flop|time|fps|\bms\b|epoch|iter|memory|year|delta|Δ|gain|speed", re.I)
SEEN = re.compile(r"(^|\s)((m?iou)?[\s_(^]*s(een)?\)?|seen.*|base)$", re.I)
UNSEEN = re.compile(r"(^|\s)((m?iou)?[\s_(^]*u(nseen)?\)?|unseen.*|novel)$", re.I)
HARMONIC = re.compile(r"(^|\s)(h[\s_-]*(m?iou)?|hm|harmonic.*)$", re.I)
PC459 = re.compile(r"(pc|context|pascal.?context)[\s_-]*459", re.I)
UNION = re.compile(r"union|pred", re.I)
CLASSES, ABSENT = 459, 114  # of Context-459, and those that never occur in the validation truth
# Left is never larger than right, class by class and so on average.
ORDERED = (("miou", "macc"), ("fwiou", "pacc"), ("pq", "sq"), ("pq", "rq"))


@dataclass(frozen=True)
class Contradiction:
    """A figure that does not follow from the others.

    Attributes:
        row: the line.
        column: the column.
        stated: what is printed.
        low: smallest figure that the others allow.
        high: largest one.
        rule: what it should follow from.
    """

    row: str
    column: str
    stated: float
    low: float
    high: float
    rule: str

    def __str__(self) -> str:
        """Give one line."""
        apart = f"{self.low:.2f} to {self.high:.2f}" if self.high > self.low else f"{self.low:.2f}"
        return f"{self.row}, {self.column}: {self.stated:g} is printed, {self.rule} gives {apart}"


def audit(table: PastedTable) -> list[Contradiction]:
    """Recompute means, harmonic means, both rules of Context-459 and orders of metrics."""
    checks = (_ranges, _row_means, _column_means, _harmonic, _context_459, _orders)
    return [found for check in checks for found in check(table)]


def context_459_readings(table: PastedTable) -> list[str]:
    """Say, for each figure of Context-459, between what it lies by the other rule."""
    share = (CLASSES - ABSENT) / CLASSES
    return [
        f"{table.label(row)}, {table.names[column]}: {number.value:g} over classes with ground "
        f"truth is {share * number.value:.2f} to {number.value:.2f} with the predicted ones"
        for column in _columns(table, PC459)
        if not UNION.search(table.names[column])
        for row, number in _numbers(table, column)
    ]


def _ranges(table: PastedTable) -> Iterator[Contradiction]:
    for column in _scores(table):
        for row, number in _numbers(table, column):
            if not 0 <= number.value <= 100:
                yield _found(table, row, column, 0.0, 100.0, "a share in percent")


def _row_means(table: PastedTable) -> Iterator[Contradiction]:
    start, scores = 0, _scores(table)
    for column in _columns(table, MEAN):
        groups = [[c for c in scores if start <= c < column], scores]
        start = column + 1
        for row, _ in _numbers(table, column):
            parts = [[n for c in group if (n := table.number(row, c))] for group in groups]
            yield from _mean(table, row, column, parts, "the mean of its line")


def _column_means(table: PastedTable) -> Iterator[Contradiction]:
    means = [row for row in range(len(table.rows)) if MEAN.match(table.rows[row][0].strip())]
    start = 0
    for row in means:
        lines = [r for r in range(len(table.rows)) if r not in means]
        groups = [[r for r in lines if start <= r < row], lines]
        start = row + 1
        for column in _scores(table):
            parts = [[n for r in group if (n := table.number(r, column))] for group in groups]
            yield from _mean(table, row, column, parts, "the mean of its column")


def _mean(
    table: PastedTable, row: int, column: int, groups: Sequence[Sequence[Number]], rule: str
) -> Iterator[Contradiction]:
    bounds = []
    for numbers in filter(None, groups):
        middle = sum(n.value for n in numbers) / len(numbers)
        slack = sum(n.rounding for n in numbers) / len(numbers)
        bounds.append((middle - slack, middle + slack))
    if bounds and all(_is_outside(table.number(row, column), *bound) for bound in bounds):
        yield _found(table, row, column, *bounds[0], rule)


def _harmonic(table: PastedTable) -> Iterator[Contradiction]:
    for column in _columns(table, HARMONIC):
        pair = [max((c for c in _columns(table, of) if c < column), default=None)
                for of in (SEEN, UNSEEN)]  # fmt: skip
        for row, _ in _numbers(table, column):
            numbers = [table.number(row, c) for c in pair if c is not None]
            known = [n for n in numbers if n is not None]
            if len(known) < 2:
                continue
            low, high = (
                _harmonic_mean(*(max(0.0, n.value + sign * n.rounding) for n in known))
                for sign in (-1, 1)
            )
            if _is_outside(table.number(row, column), low, high):
                yield _found(table, row, column, low, high, "the harmonic mean")


def _harmonic_mean(first: float, second: float) -> float:
    return 2 * first * second / (first + second) if first + second else 0.0


def _context_459(table: PastedTable) -> Iterator[Contradiction]:
    columns = _columns(table, PC459)
    union = [c for c in columns if UNION.search(table.names[c])]
    truth = [c for c in columns if c not in union]
    for column, other in zip(union, truth, strict=False):
        for row, _ in _numbers(table, column):
            number = table.number(row, other)
            if number is None:
                continue
            share = (CLASSES - ABSENT) / CLASSES
            low = share * (number.value - number.rounding)
            high = number.value + number.rounding
            if _is_outside(table.number(row, column), low, high):
                yield _found(table, row, column, low, high, f"the rule of {table.names[other]}")


def _orders(table: PastedTable) -> Iterator[Contradiction]:
    words = [re.sub(r"[^a-z ]", "", name.lower()).split() for name in table.names]
    for small, large in ORDERED:
        for column, own in enumerate(words):
            if small not in own:
                continue
            rest = [word for word in own if word != small]
            fitting = [c for c, other in enumerate(words)
                       if large in other and [w for w in other if w != large] == rest]  # fmt: skip
            yield from _above(table, column, fitting[:1], large)


def _above(
    table: PastedTable, column: int, others: Sequence[int], metric: str
) -> Iterator[Contradiction]:
    for other in others:
        for row, _ in _numbers(table, column):
            number = table.number(row, other)
            if number and _is_outside(table.number(row, column), 0, number.value + number.rounding):
                yield _found(
                    table, row, column, 0.0, number.value, f"{metric}, which is no smaller,"
                )


def _scores(table: PastedTable) -> list[int]:
    """Columns with figures that are neither means nor counts."""
    return [
        column
        for column, name in enumerate(table.names)
        if column and not MEAN.match(name.strip()) and not NO_SCORE.search(name)
        and any(True for _ in _numbers(table, column))
    ]  # fmt: skip


def _columns(table: PastedTable, pattern: re.Pattern[str]) -> list[int]:
    return [c for c, name in enumerate(table.names) if pattern.search(name.strip())]


def _numbers(table: PastedTable, column: int) -> Iterator[tuple[int, Number]]:
    for row in range(len(table.rows)):
        number = table.number(row, column)
        if number is not None:
            yield row, number


def _is_outside(number: Number | None, low: float, high: float) -> bool:
    if number is None:
        return False
    slack = number.rounding + 1e-9
    return not low - slack <= number.value <= high + slack


def _found(
    table: PastedTable, row: int, column: int, low: float, high: float, rule: str
) -> Contradiction:
    number = table.number(row, column)
    stated = number.value if number else float("nan")
    return Contradiction(table.label(row), table.names[column], stated, low, high, rule)
