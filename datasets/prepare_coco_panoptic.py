#!/usr/bin/env python
"""`ovsuite prepare coco_panoptic`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["prepare", "coco_panoptic", *sys.argv[1:]]))
