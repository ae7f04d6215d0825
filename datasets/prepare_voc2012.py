#!/usr/bin/env python
"""`ovsuite prepare voc2012`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["prepare", "voc2012", *sys.argv[1:]]))
