#!/usr/bin/env python
"""Write the figures of papers in MODEL_ZOO.md and projects/*/README.md from paper_figures.yaml.

Examples:
  python tools/write_figures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from ovs_core.commands import guarded
from ovs_core.commands.options import tool_parser
from ovs_core.errors import UserError
from ovs_core.files.writing import atomic_write
from ovs_core.reports.figure_documents import write_figures

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Write all documents, and name those that changed.

    Returns:
        0.
    """
    tool_parser(__doc__).parse_args()
    for path in [ROOT / "MODEL_ZOO.md", *sorted(ROOT.glob("projects/*/README.md"))]:
        old = path.read_text(encoding="utf-8")
        try:
            new = write_figures(old)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        if new != old:
            atomic_write(path, new)
            print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
