#!/usr/bin/env python
"""`ovsuite prepare cityscapes`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["prepare", "cityscapes", *sys.argv[1:]]))
