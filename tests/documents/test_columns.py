"""The recipes say what every column means that the suite prints or writes."""

import ast

import numpy as np
import pytest

from ovs_core.evaluation.confusion import semseg_figures, smoothed_figures, split_figures
from ovs_core.reports.tables import list_tables

from .columns import unexplained
from .reading import ROOT

NAMED = {"METRICS", "ROW", "HEADER", "head", "heads", "headers"}  # of columns
# Headings that are no columns: of HTTP, of word files, of Markdown.
OTHER = ("ovs_core/web/", "ovs_core/files/network.py", "ovs_core/words/")


def texts(node):
    """The texts of a tuple or list; of what is computed in it none."""
    if isinstance(node, (ast.Tuple, ast.List)):
        for item in node.elts:
            if isinstance(item, ast.Constant) and isinstance(item.value, str) and item.value:
                yield item.value


def printed(path):
    """The headings of tables in a file of code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "headers":
                    yield from texts(keyword.value)
            if ast.unparse(node.func).endswith("_table") and node.args:
                yield from texts(node.args[0])
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in NAMED:
            yield from texts(node.value)


def files():
    found = [*(ROOT / "projects").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
    return [path for path in found if not any(one in path.as_posix() for one in OTHER)]


def test_headings_of_tables_are_explained():
    headings = [name for path in files() for name in printed(path)]
    assert {"median ms", "published", "pairs", "AP75", "is_thing"} <= set(headings)
    assert unexplained(headings) == []


def test_metrics_are_explained():
    counts = np.array([[3, 1, 0], [0, 2, 1], [0, 0, 0]])
    figures = {**split_figures(semseg_figures(counts), [0], [1]), **smoothed_figures(counts)}
    of_tables = [metric for table in list_tables().values() for metric in table.metrics]
    panoptic = [f"{kind}{group}" for kind in ("PQ", "SQ", "RQ") for group in ("", "_th", "_st")]
    assert unexplained([*figures, *of_tables, *panoptic]) == []


@pytest.mark.parametrize("name", ["cat", "mIoU_new", "AP51"])
def test_what_is_not_there_is_found_out(name):
    assert unexplained([name]) == [name]
