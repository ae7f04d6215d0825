#!/usr/bin/env python
"""Look data sets over: counts, sizes, label values, classes that never occur.

Examples:
  python tools/check_dataset.py voc_20_val
  python tools/check_dataset.py --yaml my_data.yaml
  python tools/check_dataset.py --yaml my_data.yaml street_val --decode
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ovs_core.data.checks import check_dataset
from ovs_core.data.own_datasets import register_yaml_datasets
from ovs_core.errors import UserError


def main() -> int:
    """Check the data sets that the command line names.

    Returns:
        0 if all are good, else 1.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="registered names; default: all of --yaml")
    parser.add_argument(
        "--yaml", action="append", type=Path, default=[], help="file of own data sets"
    )
    parser.add_argument("--decode", action="store_true", help="decode every picture completely")
    parser.add_argument("--workers", type=int, default=None, help="default: one per core")
    args = parser.parse_args()
    own = register_yaml_datasets(*args.yaml)
    names = args.names or own
    if not names:
        parser.error("name a data set, or give --yaml")
    reports = [check_dataset(n, decode=args.decode, workers=args.workers) for n in names]
    print("\n\n".join(map(str, reports)))
    return 0 if all(report.passed for report in reports) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
