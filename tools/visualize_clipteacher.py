#!/usr/bin/env python
"""`ovsuite visualize`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["visualize", *sys.argv[1:]]))
