#!/usr/bin/env python
"""FC-CLIP and MAFT+ on the embedded world: train, evaluate with and without, one table.

Example:
  python tools/compare_maftplus.py --output output/maftplus_comparison
A method whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import sys

from ovs_core.reports.table_options import table_tool

if __name__ == "__main__":
    sys.exit(table_tool("maftplus/tiny", __doc__, output="output/maftplus_comparison"))
