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

from ovs_core.errors import UserError
from ovs_core.reports.table_options import add_table_options, run_and_show, split_names
from ovs_core.reports.tables import find_table


def main() -> int:
    """Run what the command line names.

    Returns:
        0 if every row ran, else 1.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=("tiny", "224", "336", "ablations"))
    parser.add_argument("--only", default="", help="datasets or ablations to run, with commas")
    add_table_options(parser, "")
    args = parser.parse_intermixed_args()
    args.output = args.output or Path("output/cliptrase") / f"table_{args.table}"
    table = find_table(f"cliptrase/{args.table}").choose(split_names(args.only))
    return run_and_show(table, args)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
