#!/usr/bin/env python
"""Turn the raw COCO-Stuff maps (stuffthingmaps) into labels of 171 classes.

COCO-Object and COCO-27 need no files of their own: they read these labels with a rule on top.

Example: python datasets/prepare_coco_stuff.py --splits val
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ovs_core.data.preparation import coco, command


def main(args: Namespace) -> None:
    """Prepare the chosen splits."""
    for split in args.splits:
        print(coco.prepare_stuff(args.root, split, raw=args.raw, workers=args.workers))


if __name__ == "__main__":
    options = command.parser(__doc__, ("train", "val"))
    options.add_argument("--raw", type=Path, help="folder of the raw train2017 and val2017 maps")
    command.run(main, options)
