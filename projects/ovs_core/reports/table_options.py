"""Command-line options of a table, the same for every command that runs one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from .comparison import run_table, show_result
from .tables import Table, find_table


def add_table_options(parser: argparse.ArgumentParser, output: str) -> None:
    """Add ``--output``, ``--seeds``, ``--samples`` and KEY VALUE ``options``.

    Args:
        parser: parse with ``parse_intermixed_args``, so that options may stand anywhere.
        output: default folder; "" if the command finds one itself (``args.output`` is None).
    """
    default = Path(output) if output else None
    parser.add_argument("--output", type=Path, default=default, help=output or "output folder")
    parser.add_argument("--seeds", type=_seeds, default=(), help="such as 0,1,2 (the config's own)")
    parser.add_argument("--samples", type=int, default=6, help="pictures on the sheet (6)")
    parser.add_argument("options", nargs="*", help="KEY VALUE overrides of every row")


def split_names(text: str) -> list[str]:
    """Split ``a,b``; "" gives none."""
    return [name for name in text.split(",") if name]


def run_and_show(table: Table, args: argparse.Namespace) -> int:
    """Run a table with what ``add_table_options`` read, and print it.

    Returns:
        0 if every row ran, else 1.
    """
    result = run_table(
        table, args.output, options=args.options, seeds=args.seeds, samples=args.samples
    )
    show_result(table, result)
    return int(result.missing > 0)


def table_tool(
    name: str, description: str, *, output: str, choose: str = "", argv: Sequence[str] | None = None
) -> int:
    """Be the command of one table.

    Args:
        name: of the table, such as ``hclip/tiny``.
        description: shown by ``-h``.
        output: default folder.
        choose: flag that takes groups of rows, such as ``--modes``; "" for none.
        argv: arguments; default those of the process.

    Returns:
        Exit code: 0 if every row ran, else 1.

    Raises:
        SystemExit: with one line, for a mistake that the person can mend.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_table_options(parser, output)
    try:
        table = find_table(name)
        if choose:
            known = table.known_groups()
            default = ",".join(table.groups or known)
            parser.add_argument(
                choose, dest="only", type=split_names, default=(),
                help=f"of {', '.join(known)} ({default})",
            )  # fmt: skip
        args = parser.parse_intermixed_args(argv)
        if choose:
            table = table.choose(args.only, key=choose)
        return run_and_show(table, args)
    except UserError as error:
        raise SystemExit(f"error: {error}") from error


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers such as 0,1,2") from None
