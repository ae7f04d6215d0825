#!/usr/bin/env python
"""Check Mapillary Vistas v1.2: its archive is used as it is, so nothing is written.

Example: python datasets/prepare_mapillary.py --splits val
"""

from __future__ import annotations

from argparse import Namespace

from ovs_core.data.preparation import command, mapillary


def main(args: Namespace) -> None:
    """Count and sum up the chosen splits."""
    for split in args.splits:
        print(mapillary.verify(args.root, split, args.workers))


if __name__ == "__main__":
    command.run(main, command.parser(__doc__, ("train", "val")))
