"""The command line that all preparation scripts share."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from ..benchmarks import datasets_root


def parser(description: str, splits: tuple[str, ...]) -> argparse.ArgumentParser:
    """Give a parser with the options of every script.

    Args:
        description: docstring of the script.
        splits: splits that can be prepared; all by default.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--root",
        type=Path,
        default=datasets_root(),
        help="folder of the data sets (default: DETECTRON2_DATASETS or ./datasets)",
    )
    made.add_argument("--splits", nargs="+", choices=splits, default=list(splits))
    made.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    return made  # fmt: skip


def run(main: Callable[[argparse.Namespace], None], options: argparse.ArgumentParser) -> None:
    """Run a script: log to the terminal, end with one line and status 1 on a user's mistake."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        main(options.parse_args())
    except UserError as error:
        sys.exit(f"error: {error}")
