"""``python -m ovs_core`` is the ``ovsuite`` command."""

import sys

from .commands import main

if __name__ == "__main__":
    sys.exit(main())
