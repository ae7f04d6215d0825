"""No dead code: every public class and function of the packages has a user, and not a test."""

import ast
import re
from collections import defaultdict

from .source import (
    METHODS,
    PROJECTS,
    ROOT,
    Definition,
    expect_none,
    files,
    is_public,
    place,
    tree,
)

CALLERS = (PROJECTS, ROOT / "tools", ROOT / "datasets")
FOUND_BY_NAME = {f"add_{method}_config" for method in METHODS}  # by `engine.config.get_ovs_cfg`
FOR_TESTS = {"declared_ranges": "shows that every key has a range, so that none is forgotten"}
NAME = re.compile(r"\w+")


def is_registered(node):
    """Whether a registry finds it: ``@META_ARCH_REGISTRY.register()`` and the like."""
    return any("register" in ast.unparse(decorator) for decorator in node.decorator_list)


def offered(path):
    """Names in the ``__all__`` of a package."""
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            yield from ast.literal_eval(node.value)


def uses(node):
    """Names that a syntax tree reads, imports or spells out in a string."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr
        elif isinstance(inner, ast.ImportFrom):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield from NAME.findall(inner.value) if len(inner.value) < 100 else ()


def count_uses():
    """Name -> how often the packages, tools and documents use it; handing on is no use."""
    counts = defaultdict(int)
    for path in (p for folder in CALLERS for p in files(folder) if p.name != "__init__.py"):
        for name in uses(tree(path)):
            counts[name] += 1
    for name in uses(tree(ROOT / "train_net.py")):
        counts[name] += 1
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *PROJECTS.rglob("*.md"),
        *PROJECTS.rglob("*.yaml"),
    ]:
        for name in NAME.findall(path.read_text(encoding="utf-8")):
            counts[name] += 1
    return counts


def test_every_public_name_has_a_user():
    counts = count_uses()
    handed_on = {n for path in files() if path.name == "__init__.py" for n in offered(path)}
    excused = handed_on | FOUND_BY_NAME | FOR_TESTS.keys()
    without = []
    for path in files():
        for node in tree(path).body:
            if not isinstance(node, Definition) or not is_public(node.name) or is_registered(node):
                continue
            inside = sum(name == node.name for name in uses(node))
            if counts[node.name] == inside and node.name not in excused:
                without.append(f"{place(path, node)} {node.name}")
    expect_none(without)
