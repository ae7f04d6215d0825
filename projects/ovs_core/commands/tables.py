"""Run a table of a method: train what is to be trained, measure every row, write the outcome.

Without TABLE the tables are listed. A training that is finished in the output folder is not
repeated, an unfinished one goes on; a row whose data or weights are missing says so. Published
figures stand in brackets. PAPER TABLE in place of PAPER/TABLE runs a table as it was printed, such
as `cliptrase 7`, for all datasets that are there; systems that the suite does not hold are quoted.
"""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path

from . import options

SUMMARY = "train and measure the rows of a method's table, beside published figures"
EXAMPLES = (
    "ovsuite tables",
    "ovsuite tables cliptrase/demo --samples 2",
    "ovsuite tables cliptrase 7 --only voc20",
    "ovsuite tables hclip/tiny --only freeze,lora --seeds 0,1 SOLVER.MAX_ITER 2",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "table", nargs="*", metavar="TABLE", help="such as those that are listed: PAPER/TABLE"
    )
    options.add_only(parser)
    # As the scripts of single tables spelled it.
    parser.add_argument(
        "--modes", "--tables", dest="only", type=options.comma_list, default=SUPPRESS, help=SUPPRESS
    )
    options.add_seeds(parser)
    options.add_samples(parser, 6)
    options.add_output(parser)
    options.add_device(parser, "")
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Run the table, or list all.

    Returns:
        0 if every row ran, else 1.
    """
    from ..reports.comparison import run_table, show_result
    from ..reports.tables import find_table

    if not args.table:
        print(_listed())
        return 0
    name, *words = args.table
    if "/" not in name and words:  # the paper and its table apart
        name = f"{name}/{words.pop(0)}"
    table = find_table(name).choose(args.only)
    pairs = ["MODEL.DEVICE", args.device] if args.device else []
    result = run_table(
        table,
        args.output or Path("output/tables") / name,
        options=[*pairs, *words, *args.opts],
        seeds=args.seeds,
        samples=args.samples,
    )
    show_result(table, result)
    return int(result.missing > 0)


def _listed() -> str:
    from tabulate import tabulate

    from ..reports.tables import list_tables

    rows = [
        (name, table.summary, ", ".join(table.known_groups()))
        for name, table in list_tables().items()
    ]
    return str(
        tabulate(rows, headers=("table", "what it compares", "groups"), maxcolwidths=[None, 50, 40])
    )
