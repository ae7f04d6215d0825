"""Files and functions are short."""

import ast
import statistics

from .source import CORE, Function, expect_none, files, place, tree

MEDIAN_FILE = 110
LONGEST_FILE = 380
LONGEST_FUNCTION = 70
ROOMS = 20


def lengths():
    return {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files()}


def test_half_of_the_files_are_short():
    assert statistics.median(lengths().values()) <= MEDIAN_FILE


def test_no_file_is_long():
    expect_none(f"{place(path)}: {n}" for path, n in lengths().items() if n > LONGEST_FILE)


def test_no_function_is_long():
    expect_none(
        f"{place(path, node)} {node.name}: {length}"
        for path in files()
        for node in ast.walk(tree(path))
        if isinstance(node, Function)
        and (length := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION
    )


def test_the_core_has_few_rooms():
    names = sorted(p.name for p in CORE.iterdir() if p.name != "__pycache__")
    assert len(names) <= ROOMS, names
