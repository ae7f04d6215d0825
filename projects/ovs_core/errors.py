"""The one error type that is meant for the person in front of the screen."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the person can mend.

    The message names the file or key, says what was expected and what came, and gives the mend.
    Commands print it as one line without a traceback; library callers may catch it.
    """


def nearest(name: str, choices: Iterable[str]) -> str:
    """Give a "did you mean" clause for a misspelt name.

    Args:
        name: what was typed.
        choices: the valid names.

    Returns:
        ``" Did you mean 'x'?"`` for the closest choice, or ``""`` if nothing is close.
    """
    close = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def check_choice(key: str, value: object, choices: Iterable[object]) -> None:
    """Refuse a value that is none of the choices.

    Args:
        key: config key, option or argument that the value was given for.
        value: what was given.
        choices: the valid values.

    Raises:
        UserError: names the key, the value, the nearest choice and all choices.
    """
    known = list(choices)
    if value not in known:
        names = [str(choice) for choice in known]
        raise UserError(
            f"{key}: '{value}' is unknown.{nearest(str(value), names)} Choices: {', '.join(names)}"
        )
