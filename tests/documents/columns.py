"""What the recipes say about columns, and which columns there are."""

import json
import re

from .reading import read


def patterns():
    """The first column of the tables of the section; ``<name>`` stands for anything."""
    section = read("docs/recipes.md").split("## What the columns mean")[1]
    cells = re.findall(r"^\| (`[^|]+?) \|", section, flags=re.M)
    names = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    return [re.compile(re.sub(r"<\w+>", ".+", re.escape(name))) for name in names]


def unexplained(names):
    known = patterns()
    return sorted(n for n in set(names) if not any(p.fullmatch(n) for p in known))


def columns_of_runs(folder):
    """Every name that trainings and evaluations below a folder have written.

    Of an evaluation in ``metrics.json`` the metric alone, without dataset and task.
    """
    for path in folder.rglob("metrics.json"):
        for line in path.read_text().splitlines():
            for name in json.loads(line):
                yield name if name.startswith("lr_of_group/") else name.rpartition("/")[2]
    for path in folder.rglob("*_evaluation.json"):
        content = json.loads(path.read_text())
        yield from content["figures"]
        yield from content["classes"]
    for path in folder.rglob("*_evaluation.csv"):
        yield from path.read_text().splitlines()[0].split(",")
