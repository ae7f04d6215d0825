#!/usr/bin/env python
"""`ovsuite tables sptseg/tiny`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["tables", "sptseg/tiny", "--output", "output/sptseg_comparison", *sys.argv[1:]]))
