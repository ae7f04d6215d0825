"""The site has a page for every document, every room of the core and every method."""

import re
import runpy

import pytest

from ovs_core.methods.projects import project_names

from .reading import DOCUMENTS, ROOT, read

CORE = ROOT / "projects" / "ovs_core"


def navigation():
    return re.findall(r"^ +- [^:]+: (\S+\.md)$", read("docs/site/mkdocs.yml"), flags=re.M)


def listed(project):
    """Whether the zoo knows a project; a method of the reader's own needs no page."""
    return f"| `{project}/" in read("MODEL_ZOO.md")


def test_every_room_and_method_has_a_reference():
    methods = {name for name in project_names() if listed(name)}
    rooms = {f"ovs_core.{p.parent.name}" for p in CORE.glob("*/__init__.py")}
    rooms |= {f"ovs_core.{p.stem}" for p in CORE.glob("[a-z]*.py")}
    pages = [name for name in navigation() if name.startswith("reference/")]
    assert sorted(pages) == sorted(f"reference/{name}.md" for name in rooms | methods)


def test_every_document_has_a_page():
    made = ("reference/", "config_keys.md")
    pages = [name for name in navigation() if not name.startswith(made)]
    own = {f"projects/{name}/README.md" for name in project_names() if not listed(name)}
    assert sorted(pages) == sorted(set(DOCUMENTS) - own)


def test_the_page_of_keys_has_the_range_of_every_key():
    pytest.importorskip("mkdocs")
    from ovs_core.methods.ranges import declared_ranges

    page = runpy.run_path(str(ROOT / "docs" / "site" / "hooks.py"))["config_keys"]()
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert rows.keys() == declared_ranges().keys()
    assert rows["SOLVER.ACCUMULATE"] == "| `SOLVER.ACCUMULATE` | `1` | at least 1 |"
    assert all(line.count("|") == 4 for line in rows.values())
