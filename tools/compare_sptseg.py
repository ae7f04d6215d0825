#!/usr/bin/env python
"""Frozen CLIP, ZegCLIP and SPT-SEG on the embedded world: train both, evaluate all, one table.

Example:
  python tools/compare_sptseg.py --output output/sptseg_comparison
A method whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from ovs_core.comparison import Entry, compare
from ovs_core.configs import find_config
from ovs_core.engine.run import run
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
        weights, seconds = train(config, args.output / "train" / title, args.options)
        print(f"{title}: {weights}" + (f", trained in {seconds:.0f} s" if seconds else ""))
        entries.append(Entry(title, config, ("MODEL.WEIGHTS", str(weights))))
    table = compare(entries, args.output, samples=args.samples)
    print(f"\nThe embedded world, validation set, 28 classes, 5 of them unseen:\n\n{table}\n")
    print(f"table     {args.output / 'table.md'}")
    print(f"pictures  {args.output / 'sheet.png'}")


def train(config: str, folder: Path, options: list[str]) -> tuple[Path, float]:
    """Train a config unless its final checkpoint is there.

    Args:
        config: short config name.
        folder: of the run; an unfinished run is resumed.
        options: KEY VALUE overrides.

    Returns:
        The final checkpoint, and the seconds that training took (0 if it was there).
    """
    weights = folder / "model_final.pth"
    if weights.is_file():
        return weights, 0.0
    start = time.perf_counter()
    resume = (folder / "last_checkpoint").is_file()
    overrides = ["OUTPUT_DIR", str(folder), "DATASETS.TEST", "()", *options]
    run(str(find_config(config)), overrides, resume=resume)
    return weights, time.perf_counter() - start


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
