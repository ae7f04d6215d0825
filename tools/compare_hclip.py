#!/usr/bin/env python
"""Ways to fine-tune CLIP under one decoder on the embedded world: train, evaluate, one table.

Examples:
  python tools/compare_hclip.py --output output/hclip_comparison
  python tools/compare_hclip.py --modes freeze,hclip --seeds 0,1,2 SOLVER.MAX_ITER 200
A method whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import sys

from ovs_core.reports.table_options import table_tool

if __name__ == "__main__":
    sys.exit(table_tool("hclip/tiny", __doc__, output="output/hclip_comparison", choose="--modes"))
