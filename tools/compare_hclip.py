#!/usr/bin/env python
"""Ways to fine-tune CLIP under one decoder on the embedded world: train, evaluate, one table.

Examples:
  python tools/compare_hclip.py --output output/hclip_comparison
  python tools/compare_hclip.py --modes freeze,hclip SOLVER.MAX_ITER 200
A method whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hclip.finetune import MODES
from ovs_core.comparison import Entry, compare
from ovs_core.engine.train_once import train_once
from ovs_core.errors import UserError

FROZEN = Entry("frozen CLIP, no decoder", "cliptrase/tiny_clip")
CONFIG = "hclip/tiny"
DEFAULT = "freeze,lora,oft,hclip"


def main() -> None:
    """Train, compare, and say where the results are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output/hclip_comparison"))
    parser.add_argument("--modes", default=DEFAULT, help=f"of {', '.join(MODES)} ({DEFAULT})")
    parser.add_argument("--samples", type=int, default=6, help="pictures on the sheet (6)")
    parser.add_argument("options", nargs="*", help="KEY VALUE overrides of training")
    args = parser.parse_intermixed_args()
    entries = [FROZEN]
    for mode in args.modes.split(","):
        architecture = "HCLIP" if mode == "hclip" else "CATSeg"
        choice = ("MODEL.META_ARCHITECTURE", architecture, "MODEL.CATSEG.FINETUNE", mode)
        folder = args.output / "train" / mode
        weights, seconds = train_once(CONFIG, folder, [*choice, *args.options])
        print(f"{mode}: {weights}" + (f", trained in {seconds:.0f} s" if seconds else ""))
        entries.append(Entry(mode, CONFIG, (*choice, "MODEL.WEIGHTS", str(weights))))
    table = compare(entries, args.output, samples=args.samples)
    print(f"\nThe embedded world, validation set, 28 classes, 5 of them unseen:\n\n{table}\n")
    print(f"table     {args.output / 'table.md'}")
    print(f"pictures  {args.output / 'sheet.png'}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
