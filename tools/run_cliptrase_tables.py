#!/usr/bin/env python
"""Run the rows of CLIPtrase's tables and write measured (published) figures.

Examples:
  python tools/run_cliptrase_tables.py tiny                     the ablation on the embedded world
  python tools/run_cliptrase_tables.py 336 --only ade150,voc20  two rows of the main table
  python tools/run_cliptrase_tables.py ablations MODEL.CLIP.PRETRAINED ViT-B-16.pt
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cliptrase.tables import run_table, table_rows
from ovs_core.errors import UserError


def main() -> int:
    """Run what the command line names.

    Returns:
        0 if every row ran, else 1.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=("tiny", "224", "336", "ablations"))
    parser.add_argument("--only", default="", help="data sets or ablations to run, with commas")
    parser.add_argument("--output", type=Path, help="folder (output/cliptrase/table_<table>)")
    parser.add_argument("options", nargs="*", help="KEY VALUE config overrides")
    args = parser.parse_intermixed_args()
    names = [name for name in args.only.split(",") if name]
    output = args.output or Path("output/cliptrase") / f"table_{args.table}"
    table, missing = run_table(table_rows(args.table, names), output, args.options)
    print(f"{table}\n\nwritten to {output / 'table.md'}")
    return 1 if missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
