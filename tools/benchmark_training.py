#!/usr/bin/env python
"""`ovsuite benchmark --of training`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", "--of", "training", *sys.argv[1:]]))
