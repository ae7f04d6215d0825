#!/usr/bin/env python
"""Prepare Cityscapes: train-id maps and the panoptic annotation, as cityscapesScripts makes them.

Example: python datasets/prepare_cityscapes.py --splits val
"""

from __future__ import annotations

from argparse import Namespace

from ovs_core.data.preparation import cityscapes, command


def main(args: Namespace) -> None:
    """Prepare the chosen splits."""
    for split in args.splits:
        print(cityscapes.prepare_train_ids(args.root, split, args.workers))
        print(cityscapes.prepare_panoptic(args.root, split, args.workers))


if __name__ == "__main__":
    command.run(main, command.parser(__doc__, ("train", "val")))
