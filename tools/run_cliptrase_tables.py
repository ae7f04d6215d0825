#!/usr/bin/env python
"""`ovsuite tables cliptrase/TABLE`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["tables", *(f"cliptrase/{word}" for word in sys.argv[1:2]), *sys.argv[2:]]))
