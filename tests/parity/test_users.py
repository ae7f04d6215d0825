"""What a comparison with reference vectors checks is what the suite runs.

A function that only a runner calls could agree with the reference while the code that segments
does something else.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

# The paper's own definitions, which ``ovs_core.tensor`` offers as such; its documentation says so.
DEFINITIONS = {"t_product", "transform_product"}
TESTS = Path(__file__).resolve().parent
PROJECTS = TESTS.parents[1] / "projects"


def trees(folder):
    for path in sorted(folder.rglob("*.py")):
        if "__pycache__" not in path.parts and not path.name.startswith("test_"):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def definitions():
    """Name -> nodes of the functions, methods and classes of the packages."""
    found = defaultdict(list)
    for _, tree in trees(PROJECTS):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[node.name].append(node)
    return found


def is_found_by_name(node):
    """Whether a registry, and so a config, or the search for projects finds it."""
    registered = any("register" in ast.unparse(decorator) for decorator in node.decorator_list)
    return registered or re.fullmatch(r"add_\w+_config|__\w+__", node.name) is not None


def names_used(tree):
    """Identifiers that a file reads; inside a definition, its own name does not count."""

    def walk(node, inside):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside = inside | {node.name}
        if isinstance(node, ast.Name) and node.id not in inside:
            yield node.id
        if isinstance(node, ast.Attribute) and node.attr not in inside:
            yield node.attr
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    return walk(tree, frozenset())


def asked_by_runners():
    """Place -> names that the runners import from the packages or ask of their objects."""
    packages = {path.name for path in PROJECTS.iterdir() if path.is_dir()}
    known = definitions()
    for path, tree in trees(TESTS):
        for node in ast.walk(tree):
            here = f"{path.relative_to(TESTS)}:{getattr(node, 'lineno', '')}"
            if isinstance(node, ast.ImportFrom) and not node.level:
                if (node.module or "").split(".")[0] in packages:
                    yield from ((here, alias.name) for alias in node.names)
            elif isinstance(node, ast.Attribute) and node.attr in known:
                yield here, node.attr


def test_what_runners_check_has_a_user_in_the_packages():
    known = definitions()
    used = {name for _, tree in trees(PROJECTS) for name in names_used(tree)}
    asked = list(asked_by_runners())
    assert len(asked) > 200, "the runners were not found"
    unused = {
        f"{here}: {name}"
        for here, name in asked
        if name in known
        and name not in used | DEFINITIONS
        and not any(map(is_found_by_name, known[name]))
    }
    assert not unused, "\n".join(sorted(unused))
