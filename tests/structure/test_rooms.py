"""Packages hand names on, methods share one template, and the core names no method."""

import ast
import re

import pytest

from .source import (
    CORE,
    METHODS,
    PROJECTS,
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


@pytest.mark.parametrize("method", METHODS)
def test_a_method_follows_the_template(method):
    folder = PROJECTS / method
    wanted = ["__init__.py", "config.py", "build.py", "model.py", "README.md", "configs"]
    if reads_published(folder):
        wanted.append("published.py")
    assert not [name for name in wanted if not (folder / name).exists()]


def reads_published(folder):
    """Whether one of the method's models brings foreign checkpoints to its own names."""
    return any(
        isinstance(node, ast.FunctionDef) and node.name == "rename_published"
        for path in files(folder)
        for node in ast.walk(tree(path))
    )


def test_models_are_asked_by_their_contract_alone():
    """No ``hasattr`` and no ``getattr`` with a default on a model: the contract has it or not."""
    asked = []
    for path in files(CORE):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                probing = (node.func.id, len(node.args)) in (("hasattr", 2), ("getattr", 3))
                if probing and re.search(r"model|segmenter", ast.unparse(node.args[0])):
                    asked.append(f"{place(path, node)}: {ast.unparse(node)}")
    expect_none(asked)
