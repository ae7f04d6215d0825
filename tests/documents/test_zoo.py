"""Tables of the documents agree with the configs, the published figures and the defaults."""

import re
from functools import reduce

import pytest

from ovs_core.engine.config import get_ovs_cfg
from ovs_core.methods.configs import list_configs
from ovs_core.methods.projects import project_names

from .reading import read


def rows(document):
    """First cell -> all cells of the table rows that begin with a name in backquotes."""
    lines = re.findall(r"^\| `([^`]+)`.*\|$", read(document), flags=re.M)
    cells = [line for line in read(document).splitlines() if line.startswith("| `")]
    return list(
        zip(lines, ([c.strip() for c in line.split("|")[1:-1]] for line in cells), strict=True)
    )


def rows_of_all(document):
    """The rows of a document, and of the READMEs of projects that it leaves out altogether.

    A method of the reader's own, as `ovsuite new-method` writes it, answers for itself.
    """
    found = rows(document)
    known = {name.partition("/")[0] for name, _ in found}
    own = [project for project in project_names() if project not in known]
    return found + [row for project in own for row in rows(f"projects/{project}/README.md")]


def test_every_config_is_in_the_zoo_once():
    named = [name for name, _ in rows_of_all("MODEL_ZOO.md") if not name.endswith(".py")]
    assert sorted(named) == sorted(list_configs())


def test_a_config_between_backquotes_exists():
    known = set(list_configs())
    pattern = rf"`((?:{'|'.join(project_names())})/[\w/]+)`"
    for document in ("README.md", "GETTING_STARTED.md", "MODEL_ZOO.md"):
        for name in re.findall(pattern, read(document)):
            assert name in known or name == "cliptrase/vit", f"{document}: {name}"


def test_measured_figures_are_those_of_the_project():
    """The zoo repeats what a project's README states, with the same digits."""
    section = read("MODEL_ZOO.md").split("## The embedded world")[1].split("\n## ")[0]
    found = re.findall(r"^\| `(\w+)/[\w/]+` \|[^|]*\|([^|]*)\|", section, flags=re.M)
    assert found
    for project, measured in found:
        stated = re.findall(r"\d+\.\d+", read(f"projects/{project}/README.md"))
        for figure in re.findall(r"\d+\.\d+", measured):
            assert figure in stated, f"{project}: {figure} is not in its README"


def default_rows():
    text = read("GETTING_STARTED.md").split("### Keys that all methods share")[1].split("\n## ")[0]
    for line in re.findall(r"^\| (`[^|]+`) \| (`[^|]*`) \|", text, flags=re.M):
        keys, values = (re.findall(r"`([^`]*)`", cell) for cell in line)
        for key, value in zip(keys, values, strict=True):
            full = keys[0].rsplit(".", 1)[0] + key if key.startswith(".") else key
            yield pytest.param(full, value, id=full)


@pytest.mark.parametrize(("key", "value"), list(default_rows()))
def test_defaults_are_as_stated(key, value):
    actual = reduce(lambda node, part: node[part], key.split("."), get_ovs_cfg())
    assert value in (str(actual), repr(actual).replace("'", '"'))


def test_the_export_table_names_every_tiny_config():
    stated = {
        name
        for name, cells in rows_of_all("GETTING_STARTED.md")
        if cells[1:3] in (["yes"] * 2, ["no"] * 2)
    }
    assert stated == {name for name in list_configs() if name.split("/")[-1].startswith("tiny")}
