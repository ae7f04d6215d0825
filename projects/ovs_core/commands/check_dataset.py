"""Look datasets over: counts, sizes, label values, classes that never occur."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from pathlib import Path

from ..errors import UserError
from . import options, reporting

SUMMARY = "look a dataset over before a long run"
EXAMPLES = (
    "ovsuite check-dataset embedded_sem_seg_val",
    "ovsuite check-dataset --yaml my_data.yaml",
    "ovsuite check-dataset --yaml my_data.yaml street_val --no-decode",
    "ovsuite check-dataset --yaml my_data.yaml --json report.json",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("names", nargs="*", help="registered names; default: all of --yaml")
    parser.add_argument(
        "--yaml", action="append", type=Path, default=[], help="file of own datasets"
    )
    options.add_json(parser)
    parser.add_argument(
        "--decode", action=BooleanOptionalAction, default=True,
        help="decode every picture completely; without it headers alone are read, which is quick",
    )  # fmt: skip
    options.add_workers(parser)


def run(args: Namespace) -> int:
    """Check the datasets.

    Returns:
        0 if all are good, else 1.
    """
    from ..data.checks import check_dataset
    from ..data.own_datasets import register_yaml_datasets

    names = args.names or register_yaml_datasets(*args.yaml)
    if not names:
        raise UserError("name a dataset, or give --yaml")
    register_yaml_datasets(*args.yaml)
    reports = [check_dataset(n, decode=args.decode, workers=args.workers) for n in names]
    content = [report.as_dict() for report in reports]
    reporting.write_report(args.json, content, "\n\n".join(map(str, reports)))
    return 0 if all(report.passed for report in reports) else 1
