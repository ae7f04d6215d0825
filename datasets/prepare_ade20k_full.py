#!/usr/bin/env python
"""Prepare ADE20K full: 16-bit labels of 847 classes and pictures at reduced size.

Example: python datasets/prepare_ade20k_full.py --splits val
"""

from __future__ import annotations

from argparse import Namespace

from ovs_core.data.preparation import ade20k_full, command


def main(args: Namespace) -> None:
    """Prepare the chosen splits."""
    for summary in ade20k_full.prepare(args.root, args.splits, args.workers):
        print(summary)


if __name__ == "__main__":
    command.run(main, command.parser(__doc__, ("train", "val")))
