"""The suite's Python files as syntax trees, without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = ROOT / "projects"
CORE = PROJECTS / "ovs_core"
METHODS = sorted(p.name for p in PROJECTS.iterdir() if (p / "config.py").is_file())

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@cache
def files(folder: Path = PROJECTS) -> tuple[Path, ...]:
    """Every Python file below a folder."""
    return tuple(sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    """For messages: the file, and the line of a node."""
    name = path.relative_to(ROOT).as_posix()
    return f"{name}:{node.lineno}" if node else name


def module_name(path: Path) -> str:
    """``projects/ovs_core/clip/__init__.py`` -> ``ovs_core.clip``."""
    parts = path.relative_to(PROJECTS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(path: Path) -> str:
    """``ovs_core.clip`` for a file of the core, ``hclip`` for one of a method."""
    parts = module_name(path).split(".")
    return ".".join(parts[:2] if parts[0] == "ovs_core" else parts[:1])


def expect_none(found: Iterable[str]) -> None:
    """Fail with one line for each thing that was found."""
    lines = sorted(set(found))
    assert not lines, "\n".join([f"{len(lines)} found:", *lines])


def is_public(name: str) -> bool:
    return not name.startswith("_")


def public_definitions(path: Path) -> Iterator[tuple[str, Definition]]:
    """Qualified name and node of public classes, functions and methods; dunder methods too."""
    for node in tree(path).body:
        if isinstance(node, Definition) and is_public(node.name):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            for inner in node.body:
                if isinstance(inner, Function) and (
                    is_public(inner.name) or inner.name.startswith("__")
                ):
                    yield f"{node.name}.{inner.name}", inner


@cache
def imports(path: Path) -> tuple[tuple[str, str, ast.stmt], ...]:
    """Every import of a file, inside functions too: module, imported name ("" for all), node."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: list[tuple[str, str, ast.stmt]] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "", node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(module, alias.name, node) for alias in node.names]
    return tuple(found)


@cache
def modules() -> dict[str, Path]:
    """Name of every module of the packages -> its file."""
    return {module_name(path): path for path in files()}


def imported_modules(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """The suite's own modules that a file imports, with the statements."""
    for module, name, node in imports(path):
        full = f"{module}.{name}"
        if full in modules():
            yield full, node
        elif module in modules():
            yield module, node
