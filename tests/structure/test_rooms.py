"""Packages hand names on, methods share one template, and the core names no method."""

import ast

from .source import (
    expect_none,
    files,
    place,
    tree,
)


def only_hands_on(node):
    """Whether a statement of an ``__init__.py`` does nothing but hand names on."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.Assign(targets=[ast.Name(id="_HOMES")], value=ast.Dict()):
            return True  # public name -> module, for __getattr__
        case ast.AnnAssign(target=ast.Name(id="__version__"), value=None):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
            return all(only_hands_on(inner) for inner in node.body)
        case ast.FunctionDef(name="__getattr__"):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="filterwarnings"))):
            return True  # has to stand before anything is imported
    return False


def test_packages_only_hand_names_on():
    wrong = [
        place(path, node)
        for path in files()
        if path.name == "__init__.py"
        for node in tree(path).body
        if not only_hands_on(node)
    ]
    expect_none(wrong)
