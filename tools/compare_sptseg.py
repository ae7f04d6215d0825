#!/usr/bin/env python
"""Frozen CLIP, ZegCLIP and SPT-SEG on the embedded world: train both, evaluate all, one table.

Example:
  python tools/compare_sptseg.py --output output/sptseg_comparison
A method whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ovs_core.comparison import Entry, compare
from ovs_core.engine.train_once import train_once
from ovs_core.errors import UserError

FROZEN = Entry("frozen CLIP", "cliptrase/tiny_clip")
TRAINED = (("ZegCLIP", "sptseg/tiny_zegclip"), ("SPT-SEG", "sptseg/tiny"))


def main() -> None:
    """Train, compare, and say where the results are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output/sptseg_comparison"))
    parser.add_argument("--samples", type=int, default=6, help="pictures on the sheet (6)")
    parser.add_argument("options", nargs="*", help="KEY VALUE overrides of training")
    args = parser.parse_intermixed_args()
    entries = [FROZEN]
    for title, config in TRAINED:
        weights, seconds = train_once(config, args.output / "train" / title, args.options)
        print(f"{title}: {weights}" + (f", trained in {seconds:.0f} s" if seconds else ""))
        entries.append(Entry(title, config, ("MODEL.WEIGHTS", str(weights))))
    table = compare(entries, args.output, samples=args.samples)
    print(f"\nThe embedded world, validation set, 28 classes, 5 of them unseen:\n\n{table}\n")
    print(f"table     {args.output / 'table.md'}")
    print(f"pictures  {args.output / 'sheet.png'}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
