"""Packages hand names on, methods share one template, and the core names no method."""

import ast
import re

import pytest

from .source import (
    CORE,
    METHODS,
    PROJECTS,
    Definition,
    expect_none,
    files,
    place,
    tree,
)

# The methods themselves and the ones that their projects bring along.
METHOD_NAMES = (*METHODS, "catseg", "zegclip", "fcclip", "maskclip", "sclip", "surgery")
# Of other code bases' folder trees, whose users' data is read as it lies.
LAYOUTS = {"catseg", "san", "fcclip", "maftplus", "maft", "mmseg", "raw"}


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


def docstrings(module):
    """The nodes of all docstrings: prose, which may say which paper a formula is from."""
    for node in ast.walk(module):
        if isinstance(node, ast.Module | Definition) and ast.get_docstring(node, clean=False):
            yield node.body[0].value


def examples(module):
    """The nodes of ``EXAMPLES = (...)``: command lines that a person reads in a help.

    They have to name some method, and the tests run them; the code takes nothing from them.
    """
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXAMPLES":
            yield from ast.walk(node.value)


def without_configs(text):
    """A sentence less the short names of configs, ``such as hclip/tiny``, that it shows a person.

    A text without blanks is a value that the code works with, and is kept.
    """
    return re.sub(rf"({'|'.join(METHODS)})/[\w/]+", "", text) if " " in text else text


def words_of_code(path):
    """Identifiers and strings that the code works with, each with its node."""
    module = tree(path)
    left_out = {id(node) for node in [*docstrings(module), *examples(module)]}
    for node in ast.walk(module):
        if id(node) in left_out:
            continue
        match node:
            case ast.Constant(value=str(text)):
                yield text, node
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
                yield text, node
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text) | ast.alias(name=text):
                yield text, node
            case ast.keyword(arg=str(text)):
                yield text, node


def test_the_core_names_no_method():
    """Letters of a name may be part of no longer word: ``sclip`` is not in ``isclipped``."""
    pattern = re.compile(rf"(?<![a-z])({'|'.join(METHOD_NAMES)})(?![a-z])", re.I)
    named = [
        f"{place(path, node)}: {text[:60]}"
        for path in files(CORE)
        for text, node in words_of_code(path)
        if pattern.search(without_configs(text)) and text not in LAYOUTS
    ]
    expect_none(named)


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
