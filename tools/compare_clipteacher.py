#!/usr/bin/env python
"""CLIPTeacher without one loss at a time on the embedded world (as Table 3), and the frozen CLIP.

Examples:
  python tools/compare_clipteacher.py --output output/clipteacher_comparison
  python tools/compare_clipteacher.py --tables 3,4,5 --seeds 1,2,3
A row whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import sys

from ovs_core.reports.table_options import table_tool

if __name__ == "__main__":
    sys.exit(
        table_tool(
            "clipteacher/tiny", __doc__, output="output/clipteacher_comparison", choose="--tables"
        )
    )
