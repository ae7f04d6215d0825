#!/usr/bin/env python
"""Prepare ADE20K-150: semantic labels, and on demand panoptic and instance annotations.

Examples:
  python datasets/prepare_ade20k_150.py --splits val
  python datasets/prepare_ade20k_150.py --panoptic --instance
"""

from __future__ import annotations

from argparse import Namespace

from ovs_core.data.preparation import ade20k, command


def main(args: Namespace) -> None:
    """Prepare the chosen splits."""
    for split in args.splits:
        print(ade20k.prepare_semantic(args.root, split, args.workers))
        if args.panoptic:
            exact, workers = args.exact_areas, args.workers
            print(ade20k.prepare_panoptic(args.root, split, exact=exact, workers=workers))
        if args.instance:
            print(f"{split} instances: {ade20k.prepare_instances(args.root, split)}")


if __name__ == "__main__":
    options = command.parser(__doc__, ("train", "val"))
    options.add_argument("--panoptic", action="store_true", help="needs annotations_instance")
    options.add_argument("--instance", action="store_true", help="needs annotations_instance")
    options.add_argument(
        "--exact-areas",
        action="store_true",
        help="measure stuff where it is visible; published figures count what things hide, too",
    )
    command.run(main, options)
