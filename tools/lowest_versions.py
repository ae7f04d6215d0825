"""Print the lowest version that setup.cfg states of each direct dependency, as pip's constraints.

    python tools/lowest_versions.py > lowest.txt
    pip install -c lowest.txt -e '.[test]'

``make test-minimal`` runs the fast tests on these, so that the stated minima are true.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path

SETUP = Path(__file__).resolve().parent.parent / "setup.cfg"


def lowest_versions(setup: Path = SETUP) -> dict[str, str]:
    """Read the minima of ``install_requires`` and of every extra.

    Args:
        setup: a setup.cfg. Its requirements are written ``name>=version`` or ``name==version``.

    Returns:
        Name of a package -> its lowest stated version.

    Raises:
        ValueError: a requirement states no version, or two requirements state different ones.
    """
    parser = configparser.ConfigParser()
    parser.read(setup, encoding="utf-8")
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    lowest: dict[str, str] = {}
    for line in "\n".join(texts).split():
        if line.startswith(f"{parser['metadata']['name']}["):
            continue  # the extra that stands for the others
        match = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?[>=]=([\w.]+)(?:,.*)?", line)
        if match is None:
            raise ValueError(f"{setup.name}: '{line}' states no lowest version")
        name, version = match.groups()
        if lowest.setdefault(name, version) != version:
            raise ValueError(f"{setup.name}: {name} has two minima, {lowest[name]} and {version}")
    return lowest


if __name__ == "__main__":
    for package, version in lowest_versions().items():
        print(f"{package}=={version}")
