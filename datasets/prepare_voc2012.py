#!/usr/bin/env python
"""Prepare PASCAL VOC 2012: labels of 20 classes, or of 20 and background with --background.

VOC-21 reads the original files and needs no preparation.

Examples:
  python datasets/prepare_voc2012.py --splits val
  python datasets/prepare_voc2012.py --splits trainaug --sbd benchmark_RELEASE/dataset
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ovs_core.data.preparation import command, pascal_voc


def main(args: Namespace) -> None:
    """Prepare the chosen splits."""
    for split in args.splits:
        summary = pascal_voc.prepare(
            args.root,
            split,
            background=args.background,
            sbd=args.sbd,
            any_count=args.any_count,
            workers=args.workers,
        )
        print(summary)


if __name__ == "__main__":
    options = command.parser(__doc__, ("train", "trainaug", "val"))
    options.add_argument("--background", action="store_true", help="labels of VOC-20b")
    options.add_argument("--sbd", type=Path, help="folder 'dataset' of SBD, for trainaug")
    options.add_argument(
        "--any-count", action="store_true", help="do not insist on 10,582 pictures in trainaug"
    )
    command.run(main, options)
