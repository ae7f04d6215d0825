#!/usr/bin/env python
"""FC-CLIP and MAFT+ on the embedded world: train, evaluate with and without, one table.

Example:
  python tools/compare_maftplus.py --output output/maftplus_comparison
A method whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ovs_core.errors import UserError
from ovs_core.reports.comparison import Entry, comparison_parser, train_and_compare

METHODS = {
    "FC-CLIP, panoptic": "maftplus/tiny_fcclip",
    "MAFT+, panoptic": "maftplus/tiny_panoptic",
    "MAFT+, semantic": "maftplus/tiny",
}
METRICS = ("PQ", "PQ_th", "PQ_st", "AP", "AP50", "mIoU", "pACC")
# The semantic model too is measured on the panoptic set, whose pictures and labels are the same.
TEST = ("DATASETS.TEST", '("embedded_panoptic_val",)')


def main() -> None:
    """Train, compare, and say where the results are."""
    args = comparison_parser(__doc__, "output/maftplus_comparison").parse_intermixed_args()
    table = train_and_compare(
        list(entries()), args.output, options=args.options, seeds=args.seeds, samples=args.samples,
        metrics=METRICS,
    )  # fmt: skip
    print(f"\nThe embedded world, validation set, 28 classes, 20 of them things:\n\n{table}\n")
    print("PQ_th, PQ_st: things, stuff. AP: masks. mIoU: mean over classes with ground truth.")
    print("An untrained head has random weights; its CLIP is the shipped one.\n")
    print(f"table     {args.output / 'table.md'}")
    print(f"pictures  {args.output / 'sheet.png'}")


def entries() -> Iterator[Entry]:
    """Every method before and after its training."""
    for title, config in METHODS.items():
        yield Entry(f"{title}, untrained head", config, TEST)
        yield Entry(title, config, TEST, trained=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
