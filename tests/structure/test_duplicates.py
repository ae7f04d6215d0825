"""The same lines of logic do not stand in two rooms."""

import ast
from collections import defaultdict

from .source import Definition, expect_none, files, place, room

LINES = 5  # of unwrapped code, which is six or more in a file


class Skeleton(ast.NodeTransformer):
    """Code less names, docstrings, lists of fields and what goes to ``super``: its logic."""

    def visit_Name(self, node):
        return ast.Name("_", node.ctx)

    def visit_arg(self, node):
        return ast.arg("_")

    def visit_AnnAssign(self, node):
        return None if node.value is None else self.generic_visit(node)

    def visit_Expr(self, node):
        handed_on = ast.unparse(node).startswith("super().__init__(")
        return (
            None if handed_on or isinstance(node.value, ast.Constant) else self.generic_visit(node)
        )


def logic(path):
    """The lines of each definition of a file."""
    module = Skeleton().visit(ast.parse(path.read_text(encoding="utf-8")))
    for node in module.body:
        if isinstance(node, Definition):
            node.body = node.body or [ast.Pass()]
            yield node.name, [line for line in ast.unparse(node).splitlines() if line]


def repeated(paths):
    """Places that share a stretch of logic with a place in another room."""
    places = defaultdict(set)
    for path in paths:
        for name, lines in logic(path):
            for start in range(len(lines) - LINES + 1):
                stretch = tuple(line.strip() for line in lines[start : start + LINES])
                places[stretch].add((room(path), f"{place(path)} {name}"))
    for found in places.values():
        if len({home for home, _ in found}) > 1:
            yield " = ".join(sorted(name for _, name in found))


def test_rooms_share_no_logic():
    expect_none(repeated(files()))
