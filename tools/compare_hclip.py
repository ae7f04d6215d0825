#!/usr/bin/env python
"""`ovsuite tables hclip/tiny`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["tables", "hclip/tiny", "--output", "output/hclip_comparison", *sys.argv[1:]]))
