#!/usr/bin/env python
"""CLIPTeacher without one loss at a time on the embedded world (as Table 3), and the frozen CLIP.

Examples:
  python tools/compare_clipteacher.py --output output/clipteacher_comparison
  python tools/compare_clipteacher.py --tables 3,4,5 --seeds 1,2,3
A row whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import sys

from ovs_core.errors import UserError
from ovs_core.reports.comparison import Entry, comparison_parser, show_comparison, train_and_compare

FROZEN = Entry("frozen CLIP", "cliptrase/tiny_clip")
KEY = "MODEL.CLIPTEACHER"
ROWS = {  # table of the paper -> title -> what differs from the whole method
    "3": {
        "no focal, dice": (f"{KEY}.LOSS.FOCAL", "0.0", f"{KEY}.LOSS.DICE", "0.0"),
        "no CE": (f"{KEY}.LOSS.CE", "0.0"),
        "no GLM": (f"{KEY}.GLM.ENABLED", "False"),
        "no generate": (f"{KEY}.LOSS.GENERATE", "0.0"),
    },
    "4": {
        "GLM: max": (f"{KEY}.GLM.POOL", "max"),
        "GLM: mean": (f"{KEY}.GLM.POOL", "mean"),
    },
    "5": {
        "VLA: MLP": (f"{KEY}.VLA.TYPE", "mlp"),
        "VLA: original features": (f"{KEY}.VLA.TYPE", "identity"),
    },
}


def main() -> None:
    """Train, compare, and say where the results are."""
    parser = comparison_parser(__doc__, "output/clipteacher_comparison")
    parser.add_argument("--tables", default="3", help="of 3, 4, 5 (3)")
    args = parser.parse_intermixed_args()
    table = train_and_compare(
        entries(args.tables.split(",")),
        args.output,
        options=args.options,
        seeds=args.seeds,
        samples=args.samples,
    )
    show_comparison(table, args.output)


def entries(tables: list[str]) -> list[Entry]:
    """Frozen CLIP, the rows of the tables, and the whole method last, as in the paper.

    Raises:
        UserError: for a table that is not there.
    """
    unknown = [name for name in tables if name not in ROWS]
    if unknown:
        raise UserError(f"--tables: no table '{unknown[0]}'; there are {', '.join(ROWS)}")
    rows = {title: options for name in tables for title, options in ROWS[name].items()}
    rows["CLIPTeacher"] = ()
    return [FROZEN] + [
        Entry(title, "clipteacher/tiny", options, trained=True) for title, options in rows.items()
    ]


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
