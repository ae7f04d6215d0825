#!/usr/bin/env python
"""`ovsuite prepare ade20k_full`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["prepare", "ade20k_full", *sys.argv[1:]]))
