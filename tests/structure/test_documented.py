"""Public names are typed and documented, and a docstring says more than the name."""

import ast

from .source import Function, expect_none, files, place, public_definitions, tree


def test_public_names_are_documented():
    missing = [
        f"{place(path, node)} {name}"
        for path in files()
        for name, node in public_definitions(path)
        if not ast.get_docstring(node) and not name.rsplit(".")[-1].startswith("__")
    ]
    expect_none(missing)


def test_modules_are_documented():
    missing = [
        place(path) for path in files() if tree(path).body and not ast.get_docstring(tree(path))
    ]
    expect_none(missing)


def arguments(node, is_method):
    """The arguments that need a type: all but the object or the class of a method."""
    given = node.args
    named = [*given.posonlyargs, *given.args]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    named = named[1:] if is_method and not static else named
    return [*named, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]


def test_public_functions_are_typed():
    untyped = []
    for path in files():
        for name, node in public_definitions(path):
            if not isinstance(node, Function):
                continue
            bare = [a.arg for a in arguments(node, "." in name) if a.annotation is None]
            if node.returns is None and not name.endswith(".__init__"):
                bare.append("return")
            untyped += [f"{place(path, node)} {name}: {argument}" for argument in bare]
    expect_none(untyped)
