"""Reading JSON that anybody may have written."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Read JSON.

    Args:
        text: the whole of it.

    Returns:
        Maps, lists, texts and numbers.

    Raises:
        ValueError: if it is no JSON, or nested deeper than can be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
