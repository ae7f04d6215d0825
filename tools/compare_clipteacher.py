#!/usr/bin/env python
"""`ovsuite tables clipteacher/tiny`: the same flags, the same work."""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(
        main(
            [
                "tables",
                "clipteacher/tiny",
                "--output",
                "output/clipteacher_comparison",
                *sys.argv[1:],
            ]
        )
    )
