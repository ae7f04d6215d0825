"""Say what is installed and found here, what is missing, and the command that mends it.

Missing extras, weights and datasets are no fault; the exit code is 1 only if something that every
use needs is missing or broken. With --gpu it runs the suite on a GPU in under ten minutes, offline,
and writes a table to keep: reference vectors, agreement of bfloat16, trainings, time and memory of
real shapes, pictures per second. The exit code is 1 if a part fails.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import options, reporting

if TYPE_CHECKING:
    from ..reports.doctor import Condition

SUMMARY = "what is installed and found, what is missing, and how to mend it"
EXAMPLES = (
    "ovsuite doctor",
    "ovsuite doctor --json report.json",
    "ovsuite doctor --gpu --device cpu --only agreement --output output/gpu_check",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_json(parser)
    parser.add_argument(
        "--gpu", action="store_true",
        help="run the suite on a GPU; needs one. Rows of --only: parity, agreement, trainings, "
        "shapes, throughput",
    )  # fmt: skip
    options.add_device(parser, "cuda")
    options.add_only(parser)
    parser.add_argument(
        "--minutes", type=float, default=9, metavar="N", help="of --gpu: for all parts together"
    )
    options.add_output(parser, "output/gpu_check")


def run(args: Namespace) -> int:
    """Print the findings.

    Returns:
        0 if the suite can work, else 1.
    """
    return _check_gpu(args) if args.gpu else _examine(args)


def _check_gpu(args: Namespace) -> int:
    from ..errors import UserError
    from ..reports.gpu_check import FAILED, check_gpu, format_rows, write_table

    if args.json:
        raise UserError("--gpu writes its JSON below --output; leave --json out")
    rows = []
    for row in check_gpu(args.device, args.only, 60 * args.minutes):
        rows.append(row)
        print(f"{row.part} {row.name}: {row.state} {row.note}", flush=True)
    print(f"\n{format_rows(rows)}")
    for file in write_table(rows, Path(args.output), args.device):
        print(f"written to {file}")
    return int(any(row.state == FAILED for row in rows))


def _examine(args: Namespace) -> int:
    from dataclasses import asdict  # the help goes without

    from ..reports.doctor import examine

    parts = list(examine())
    sick = any(finding.good is False for _, findings in parts for finding in findings)
    lines = [line for title, findings in parts for line in (title, *_lines(findings))]
    end = "Something that the suite needs is missing." if sick else "The suite can work."
    content = {title: [asdict(finding) for finding in findings] for title, findings in parts}
    reporting.write_report(args.json, content, "\n".join([*lines, "", end]))
    return int(sick)


def _lines(findings: Sequence[Condition]) -> Iterator[str]:
    for finding, after in zip(findings, [*findings[1:], None], strict=True):
        mark = {True: "ok  ", False: "FAIL", None: "-   "}[finding.good]
        yield f"  {mark} {finding.text}"
        if finding.mend and (after is None or after.mend != finding.mend):
            yield f"       mend: {finding.mend}"
