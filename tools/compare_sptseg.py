#!/usr/bin/env python
"""Frozen CLIP, ZegCLIP and SPT-SEG on the embedded world: train both, evaluate all, one table.

Example:
  python tools/compare_sptseg.py --output output/sptseg_comparison
A method whose final checkpoint is already in the folder is not trained again.
"""

from __future__ import annotations

import sys

from ovs_core.reports.table_options import table_tool

if __name__ == "__main__":
    sys.exit(table_tool("sptseg/tiny", __doc__, output="output/sptseg_comparison"))
