"""Loading what a command needs in little time."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Let Python not look for garbage while modules are loaded and a model is built.

    It would look again and again through the million objects of the libraries, none of which is
    garbage; that is a tenth of the time in which they are loaded.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
