"""A public name means one thing: in the core, and between the core and a method."""

import ast
import re
from collections import defaultdict

from .source import CORE, METHODS, PROJECTS, Definition, expect_none, files, is_public, place, tree

# What every module of a kind is asked for; the module's name tells them apart.
ASKED_OF_MODULES = {
    "add_arguments": "a command's arguments",
    "run": "a command's work; `engine.run.run` is what `ovsuite train` calls",
    "main": "a script's work",
    "prepare": "a dataset's preparation, which `commands.prepare` calls through its module",
    "prepare_panoptic": "likewise",
}


def definitions(folder):
    """Public class or function -> where it is defined."""
    found = defaultdict(list)
    for path in files(folder):
        for node in tree(path).body:
            if isinstance(node, Definition) and is_public(node.name):
                found[node.name].append(place(path, node))
    return {name: places for name, places in found.items() if name not in ASKED_OF_MODULES}


def test_no_two_files_of_the_core_give_one_name_to_two_things():
    core = definitions(CORE)
    expect_none(f"{name}: {', '.join(at)}" for name, at in core.items() if len(at) > 1)


def test_no_method_gives_a_name_of_the_core_to_something_else():
    core = definitions(CORE)
    expect_none(
        f"{name}: {core[name][0]}, {at[0]}"
        for method in METHODS
        for name, at in definitions(PROJECTS / method).items()
        if name in core
    )


def test_no_two_files_of_a_method_give_one_name_to_two_things():
    expect_none(
        f"{name}: {', '.join(at)}"
        for method in METHODS
        for name, at in definitions(PROJECTS / method).items()
        if len(at) > 1
    )


def test_no_two_methods_give_one_name_to_two_things():
    """But in ``build.py`` and ``published.py``, where each answers the same questions."""
    owners = defaultdict(list)
    for project in (PROJECTS / name for name in METHODS):
        for name, at in definitions(project).items():
            if not re.search(r"/(build|published)\.py:", at[0]):
                owners[name].append(at[0])
    expect_none(f"{name}: {', '.join(at)}" for name, at in owners.items() if len(at) > 1)


def test_no_string_stands_for_a_type():
    """An alias is a type; ``Picture = "str | Path"`` is a string that nothing reads."""
    expect_none(
        f"{place(path, node)} {ast.unparse(node)}"
        for path in files()
        for node in tree(path).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and " | " in node.value.value
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.istitle()
    )
