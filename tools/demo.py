#!/usr/bin/env python
"""Open-vocabulary segmentation on the embedded world: a table and pictures in about a minute.

Nothing is downloaded: the scenes are drawn, and the CLIP is the small one that the suite carries.
"""

from __future__ import annotations

import sys

from ovs_core.reports.table_options import table_tool

if __name__ == "__main__":
    sys.exit(table_tool("cliptrase/demo", __doc__, output="output/demo"))
