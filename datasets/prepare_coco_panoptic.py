#!/usr/bin/env python
"""Make semantic labels of 133 classes from COCO's panoptic annotation (optional).

Panoptic training and evaluation do without them; they add mIoU to the report.

Example: python datasets/prepare_coco_panoptic.py --splits val
"""

from __future__ import annotations

from argparse import Namespace

from ovs_core.data.preparation import coco, command


def main(args: Namespace) -> None:
    """Prepare the chosen splits."""
    for split in args.splits:
        print(coco.prepare_panoptic_semantics(args.root, split, args.workers))


if __name__ == "__main__":
    command.run(main, command.parser(__doc__, ("train", "val")))
