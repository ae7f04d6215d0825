#!/usr/bin/env python
"""Prepare PASCAL Context: labels of 59 classes. Context-60 reads them with a rule on top.

Example: python datasets/prepare_context.py --splits val --list pc59_val.txt
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ovs_core.data.preparation import command, pascal_context


def main(args: Namespace) -> None:
    """Prepare the chosen splits."""
    for split in args.splits:
        print(pascal_context.prepare_59(args.root, split, listing=args.list, workers=args.workers))


if __name__ == "__main__":
    options = command.parser(__doc__, ("train", "val"))
    options.add_argument("--list", type=Path, help="file that names the pictures of the split")
    command.run(main, options)
