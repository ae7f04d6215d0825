#!/usr/bin/env python
"""`ovsuite prepare context`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["prepare", "context", *sys.argv[1:]]))
