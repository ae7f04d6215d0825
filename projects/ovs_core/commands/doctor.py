"""Say what is installed and found here, what is missing, and the command that mends it.

Missing extras, weights and datasets are no fault; the exit code is 1 only if something that every
use needs is missing or broken.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from . import options

if TYPE_CHECKING:
    from ..reports.doctor import Condition

SUMMARY = "what is installed and found, what is missing, and how to mend it"
EXAMPLES = ("ovsuite doctor", "ovsuite doctor --json report.json")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_json(parser)


def run(args: Namespace) -> int:
    """Print the findings.

    Returns:
        0 if the suite can work, else 1.
    """
    from dataclasses import asdict  # the help goes without

    from ..reports.doctor import examine

    parts = list(examine())
    sick = any(finding.good is False for _, findings in parts for finding in findings)
    lines = [line for title, findings in parts for line in (title, *_lines(findings))]
    end = "Something that the suite needs is missing." if sick else "The suite can work."
    content = {title: [asdict(finding) for finding in findings] for title, findings in parts}
    options.write_report(args.json, content, "\n".join([*lines, "", end]))
    return int(sick)


def _lines(findings: Sequence[Condition]) -> Iterator[str]:
    for finding, after in zip(findings, [*findings[1:], None], strict=True):
        mark = {True: "ok  ", False: "FAIL", None: "-   "}[finding.good]
        yield f"  {mark} {finding.text}"
        if finding.mend and (after is None or after.mend != finding.mend):
            yield f"       mend: {finding.mend}"
