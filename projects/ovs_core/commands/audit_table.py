"""Recompute what a printed table says twice, and name the contradictions.

FILE holds a table in Markdown, LaTeX or CSV. Means of lines and columns, harmonic means of seen and
unseen classes, both rules of Context-459, and orders that always hold (mIoU and mAcc, fwIoU and
pAcc, PQ, SQ and RQ) are recomputed from the other figures, as far as rounding tells.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

SUMMARY = "recompute means, hIoU and PC-459 of a printed table and name contradictions"
EXAMPLES = ("ovsuite audit-table table.md",)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("file", type=Path, metavar="FILE", help="Markdown, LaTeX or CSV")


def run(args: Namespace) -> int:
    """Print what was found.

    Returns:
        0 without a contradiction, else 1.
    """
    from ..reports.audit import audit, context_459_readings
    from ..reports.pasted_table import read_table

    table = read_table(args.file)
    found = audit(table)
    for line in context_459_readings(table):
        print(line)
    for contradiction in found:
        print(contradiction)
    print(f"{len(table.rows)} lines, {len(found)} contradictions")
    return int(bool(found))
