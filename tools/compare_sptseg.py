#!/usr/bin/env python
"""Frozen CLIP, ZegCLIP and SPT-SEG on the embedded world: train both, evaluate all, one table.

Example:
  python tools/compare_sptseg.py --output output/sptseg_comparison
A method whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import sys

from ovs_core.errors import UserError
from ovs_core.reports.comparison import Entry, comparison_parser, show_comparison, train_and_compare

ENTRIES = (
    Entry("frozen CLIP", "cliptrase/tiny_clip"),
    Entry("ZegCLIP", "sptseg/tiny_zegclip", trained=True),
    Entry("SPT-SEG", "sptseg/tiny", trained=True),
)


def main() -> None:
    """Train, compare, and say where the results are."""
    args = comparison_parser(__doc__, "output/sptseg_comparison").parse_intermixed_args()
    table = train_and_compare(
        ENTRIES, args.output, options=args.options, seeds=args.seeds, samples=args.samples
    )
    show_comparison(table, args.output)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
