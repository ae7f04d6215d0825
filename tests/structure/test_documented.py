"""Public names are typed and documented, and a docstring says more than the name."""

import ast
import re

from .source import Function, expect_none, files, place, public_definitions, tree

# Words that carry nothing when a docstring consists of them and of the name.
EMPTY = set(
    "a an the of to for in on at by with from and or its this that is are be it as "
    "get gets give gives given return returns compute computes do does make makes"
    .split()
)  # fmt: skip


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


def stems(text):
    words = re.findall(r"[a-z]+|[0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    return {re.sub(r"(ing|ed|es|s|e)$", "", word) for word in words}


def test_docstrings_say_more_than_the_name():
    """``def batch_size``: "The batch size." repeats; "Pictures per step." tells.

    A literal, such as the option or key that a function adds, tells.
    """
    repeated = []
    for path in files():
        for name, node in public_definitions(path):
            first = (ast.get_docstring(node) or "").split("\n\n")[0]
            if first and "``" not in first and stems(first) <= stems(name) | stems(" ".join(EMPTY)):
                repeated.append(f'{place(path, node)} {name}: "{first}"')
    expect_none(repeated)
