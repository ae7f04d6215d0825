#!/usr/bin/env python
"""`ovsuite prepare ade20k_150`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["prepare", "ade20k_150", *sys.argv[1:]]))
