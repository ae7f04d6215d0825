"""Many pictures one after the other, and what becomes of those that cannot be segmented."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import UserError, check_choice, explain

if TYPE_CHECKING:  # who shares pictures out makes no result
    from .result import Result

ON_ERROR = ("raise", "skip")

S = TypeVar("S")


class ResultStream(Iterator["Result"], Generic[S]):
    """Segments the next picture when it is asked for, so that any number fits into memory.

    Args:
        sources: the pictures.
        segment: gives the result of one.
        on_error: ``raise`` whatever goes wrong with a picture (the next call goes on with the next
            picture), or ``skip`` the picture and list it in ``failures``.
        together: prepares several sources at once, before the first of them is segmented; gives for
            each what ``segment`` takes in its place.
        batch: how many these are.

    Attributes:
        failures: one line for each picture that was skipped so far.
    """

    def __init__(
        self,
        sources: Iterable[S],
        segment: Callable[[Any], Result],
        on_error: str = "raise",
        *,
        together: Callable[[Sequence[S]], Sequence[Any]] = list,
        batch: int = 1,
    ) -> None:
        check_choice("on_error", on_error, ON_ERROR)
        if batch < 1:
            raise UserError(f"batch: {batch} is no whole number above 0")
        self.failures: list[str] = []
        self._sources = _prepared(sources, together, batch)
        self._segment = segment
        self._skips = on_error == "skip"

    def __next__(self) -> Result:
        """Segment one more picture."""
        for number, source, prepared in self._sources:
            try:
                return self._segment(prepared)
            except Exception as error:  # whatever it is, the other pictures are not to blame
                if not self._skips:
                    raise
                is_path = hasattr(source, "__fspath__") or isinstance(source, str)
                name = str(source) if is_path else f"picture {number + 1}"
                self.failures.append(failure_line(name, error))
        raise StopIteration


def _prepared(
    sources: Iterable[S], together: Callable[[Sequence[S]], Sequence[Any]], batch: int
) -> Iterator[tuple[int, S, Any]]:
    numbered = enumerate(sources)
    while chunk := list(itertools.islice(numbered, batch)):
        prepared = together([source for _, source in chunk])
        for (number, source), one in zip(chunk, prepared, strict=True):
            yield number, source, one


def failure_line(name: str, error: BaseException) -> str:
    """Say in one line why a picture has no result.

    Args:
        name: of the picture; put in front if the error does not name it.
        error: what was raised.
    """
    text = " ".join((explain(error) or f"{type(error).__name__}: {error}").split())
    name = " ".join(name.split())
    line = text if name in text else f"{name}: {text}"
    return line.encode("utf-8", "backslashreplace").decode()
