#!/usr/bin/env python
"""Open-vocabulary segmentation on the embedded world: a table and pictures in about a minute.

Nothing is downloaded: the scenes are drawn, and the CLIP is the small one that the suite carries.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ovs_core.errors import UserError
from ovs_core.reports.comparison import Entry, compare, show_comparison

ENTRIES = (
    Entry("CLIP", "cliptrase/tiny_clip"),
    Entry("MaskCLIP", "cliptrase/tiny_maskclip"),
    Entry("SCLIP", "cliptrase/tiny_sclip"),
    Entry("CLIPtrase", "cliptrase/tiny"),
)


def main() -> None:
    """Compare the training-free methods and say where the results are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/demo"), help="output/demo")
    parser.add_argument("--samples", type=int, default=6, help="pictures on the sheet (6)")
    args = parser.parse_args()
    table = compare(ENTRIES, args.output, samples=args.samples)
    show_comparison(table, args.output)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
