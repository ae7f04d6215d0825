#!/usr/bin/env python
"""`ovsuite tables maftplus/tiny`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(
        main(["tables", "maftplus/tiny", "--output", "output/maftplus_comparison", *sys.argv[1:]])
    )
