"""Write the miniatures of all datasets into a folder."""

import argparse
from pathlib import Path

from . import SOURCES

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("sources", nargs="*", choices=[[], *SOURCES], help="default: all")
args = parser.parse_args()
for name in args.sources or SOURCES:
    SOURCES[name](args.folder)
    print(f"{name}: written below {args.folder}")
