"""Checks of settings that several parts share."""

from __future__ import annotations

from collections.abc import Sequence

from ovs_core.errors import UserError, nearest


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        UserError: naming the key and the nearest choice.
    """
    if value not in choices:
        raise UserError(
            f"{key}: '{value}' is none of {', '.join(choices)}.{nearest(value, choices)}"
        )
