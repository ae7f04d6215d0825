#!/usr/bin/env python
"""`ovsuite visualize cliptrase/vitb16 --pictures`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["visualize", "--method", "cliptrase/vitb16", "--pictures", *sys.argv[1:]]))
