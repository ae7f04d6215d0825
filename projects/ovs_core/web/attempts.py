"""What a visitor asks for, and what a method makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from ..predict.result import Result
from .choices import Choice


@dataclass(frozen=True)
class Asked:
    """What a visitor asked for, as its cards name it.

    Attributes:
        ticket: of the picture.
        picture: name of its file.
        words: as they were typed.
    """

    ticket: str = ""
    picture: str = ""
    words: str = ""


@dataclass(frozen=True)
class Attempt:
    """What one method made of a picture.

    Attributes:
        choice: the method.
        result: None if it failed.
        seconds: wall time of the segmentation.
        loading: wall time of building the model; 0 when it was there already.
        error: what went wrong, for the person; empty if nothing did.
    """

    choice: Choice
    result: Result | None
    seconds: float = 0.0
    loading: float = 0.0
    error: str = ""
