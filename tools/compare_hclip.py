#!/usr/bin/env python
"""Ways to fine-tune CLIP under one decoder on the embedded world: train, evaluate, one table.

Examples:
  python tools/compare_hclip.py --output output/hclip_comparison
  python tools/compare_hclip.py --modes freeze,hclip --seeds 0,1,2 SOLVER.MAX_ITER 200
A method whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import sys

from hclip.finetune import MODES
from ovs_core.errors import UserError, nearest
from ovs_core.reports.comparison import Entry, comparison_parser, show_comparison, train_and_compare

FROZEN = Entry("frozen CLIP, no decoder", "cliptrase/tiny_clip")
DEFAULT = "freeze,lora,oft,hclip"


def main() -> None:
    """Train, compare, and say where the results are."""
    parser = comparison_parser(__doc__, "output/hclip_comparison")
    parser.add_argument("--modes", default=DEFAULT, help=f"of {', '.join(MODES)} ({DEFAULT})")
    args = parser.parse_intermixed_args()
    entries = [FROZEN, *(entry(mode) for mode in args.modes.split(","))]
    table = train_and_compare(
        entries, args.output, options=args.options, seeds=args.seeds, samples=args.samples
    )
    show_comparison(table, args.output)


def entry(mode: str) -> Entry:
    """Make the line of one way to fine-tune.

    Raises:
        UserError: if there is no such way.
    """
    if mode not in MODES:
        raise UserError(f"--modes: '{mode}' is none of {', '.join(MODES)}.{nearest(mode, MODES)}")
    architecture = "HCLIP" if mode == "hclip" else "CATSeg"
    options = ("MODEL.META_ARCHITECTURE", architecture, "MODEL.CATSEG.FINETUNE", mode)
    return Entry(mode, "hclip/tiny", options, trained=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
