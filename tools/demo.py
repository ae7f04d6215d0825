#!/usr/bin/env python
"""`ovsuite demo`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
