#!/usr/bin/env python
"""`ovsuite tables cliptrase/demo`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["tables", "cliptrase/demo", "--output", "output/demo", *sys.argv[1:]]))
