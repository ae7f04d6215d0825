#!/usr/bin/env python
"""Prepare PASCAL Context with all classes: 16-bit labels of 459 classes.

Example: python datasets/prepare_context_459.py --splits val
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ovs_core.data.preparation import command, pascal_context


def main(args: Namespace) -> None:
    """Prepare the chosen splits."""
    for split in args.splits:
        summary = pascal_context.prepare_459(
            args.root, split, raw=args.raw, listing=args.list, workers=args.workers
        )
        print(summary)


if __name__ == "__main__":
    options = command.parser(__doc__, ("train", "val"))
    options.add_argument("--raw", type=Path, help="folder of the .mat files")
    options.add_argument("--list", type=Path, help="file that names the pictures of the split")
    command.run(main, options)
