#!/usr/bin/env python
"""Run the product on reference vectors and compare every array.

Examples:
  python tools/check_parity.py cliptrase tests/data/cliptrase
  python tools/check_parity.py evaluation a.npz b.npz --failures
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from ovs_core.commands import guarded
from ovs_core.commands.options import tool_parser
from ovs_core.errors import UserError, nearest
from parity import import_all_runners
from parity import runner as parity
from parity.on_device import on_device


def main() -> int:
    """Check the files that the command line names.

    Returns:
        0 if every array of every file passed and at least one was compared, else 1.
    """
    parser = tool_parser(__doc__)
    parser.add_argument("method", help="whose runners to use, for example cliptrase")
    parser.add_argument("paths", nargs="+", type=Path, help=".npz files or folders of them")
    parser.add_argument("--failures", action="store_true", help="show failed rows only")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for a GPU's own kernels")
    args = parser.parse_args()
    import_all_runners()
    if args.method not in parity.methods():
        known = parity.methods()
        raise UserError(
            f"unknown method '{args.method}'.{nearest(args.method, known)} Known: "
            f"{', '.join(known)}"
        )
    exceptions: Counter[str] = Counter()
    with on_device(args.device):
        outcomes = {path: _check(args, path, exceptions) for path in parity.find_files(args.paths)}
    count = Counter(outcomes.values())
    skipped = f", {count['skip']} with nothing to compare" if count["skip"] else ""
    print(f"\n{count['pass']} of {len(outcomes)} files pass{skipped}")
    for path, outcome in outcomes.items():
        if outcome != "pass":
            print(f"{outcome.upper()} {path}")
    for reason, arrays in exceptions.most_common():
        print(f"{arrays} arrays would pass with two percent more, or as zeros: {reason}")
    if not count["pass"] and not count["fail"]:
        print("nothing was compared")
    return 1 if count["fail"] or not count["pass"] else 0


def _check(args: argparse.Namespace, path: Path, exceptions: Counter[str]) -> str:
    """Check one file and print its rows: ``pass``, ``fail`` or ``skip``.

    Reasons of arrays that no change of scale would fail are counted in ``exceptions``.
    """
    try:
        rows = parity.check_file(args.method, path)
    except UserError as error:
        print(f"\n{path}\n  FAIL {error}")
        return "fail"
    compared = [row for row in rows if not row.skipped]
    exceptions.update(row.insensitive for row in compared if row.insensitive)
    shown = [row for row in rows if row.skipped or not (args.failures and row.passed)]
    print(f"\n{path}  ({sum(r.passed for r in compared)} of {len(compared)} arrays pass)")
    if shown:
        print(parity.format_rows(shown))
    if not all(row.passed for row in rows):
        return "fail"
    return "pass" if compared else "skip"


if __name__ == "__main__":
    sys.exit(guarded(main))
