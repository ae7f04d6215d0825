#!/usr/bin/env python
"""Run the product on reference vectors and compare every array.

Examples:
  python tools/check_parity.py cliptrase tests/data/cliptrase
  python tools/check_parity.py evaluation a.npz b.npz --failures
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ovs_core import parity
from ovs_core.errors import UserError, nearest
from ovs_core.projects import import_projects


def main() -> int:
    """Check the files that the command line names.

    Returns:
        0 if every array of every file passed, else 1.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", help="whose runners to use, for example cliptrase")
    parser.add_argument("paths", nargs="+", type=Path, help=".npz files or folders of them")
    parser.add_argument("--failures", action="store_true", help="show failed rows only")
    args = parser.parse_args()
    import_projects(submodule="parity")
    if args.method not in parity.methods():
        known = parity.methods()
        raise UserError(
            f"unknown method '{args.method}'.{nearest(args.method, known)} Known: "
            f"{', '.join(known)}"
        )
    failed = [path for path in parity.find_files(args.paths) if not _check(args, path)]
    total = len(parity.find_files(args.paths))
    print(f"\n{total - len(failed)} of {total} files pass")
    for path in failed:
        print(f"FAIL {path}")
    return 1 if failed else 0


def _check(args: argparse.Namespace, path: Path) -> bool:
    try:
        rows = parity.check_file(args.method, path)
    except UserError as error:
        print(f"\n{path}\n  FAIL {error}")
        return False
    passed = all(row.passed for row in rows)
    shown = [row for row in rows if not (args.failures and row.passed)]
    print(f"\n{path}  ({sum(r.passed for r in rows)} of {len(rows)} arrays pass)")
    if shown:
        print(parity.format_rows(shown))
    return passed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
