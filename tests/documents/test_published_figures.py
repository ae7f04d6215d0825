"""Published figures of the documents are written from the papers' data files."""

import re

import pytest

from ovs_core.methods.configs import list_configs
from ovs_core.methods.projects import project_names
from ovs_core.reports.figure_documents import write_figures, written_figure
from ovs_core.reports.paper_figures import paper_tables

from .reading import read
from .test_zoo import rows

PAPERS = [project for project in project_names() if paper_tables(project)]
BLOCK = re.compile(r"<!-- (?:paper|figures): .*?<!-- end -->\n", re.S)


def numbers(text):
    return [float(number) for number in re.findall(r"(?<![\d.,])\d+\.\d+(?![\d.])", text)]


@pytest.mark.parametrize("document", ["MODEL_ZOO.md", *(f"projects/{p}/README.md" for p in PAPERS)])
def test_documents_are_as_the_data_files_say(document):
    """If this fails: ``python tools/write_figures.py``."""
    text = read(document)
    assert BLOCK.search(text)
    assert write_figures(text) == text


def once(metric, values):
    """The figures of a line; parameters are the same for all datasets."""
    return set(values.values()) if metric == "parameters_M" else values.values()


@pytest.mark.parametrize("project", PAPERS)
def test_the_readme_has_every_printed_figure_beside_a_config_or_a_reason(project):
    text = "".join(BLOCK.findall(read(f"projects/{project}/README.md")))
    parts = text.split("\n**")[1:]
    assert len(parts) == len(paper_tables(project))
    for part, table in zip(parts, paper_tables(project).values(), strict=True):
        lines = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("| ")][2:]
        for (name, measured, *cells), row in zip(lines, table.rows, strict=True):
            assert name.strip() == row.name and measured.strip()
            printed = [one for cell in cells for one in cell.strip().split(" / ") if one != "–"]
            wanted = [
                written_figure(row, metric, value)
                for metric, values in row.figures.items()
                for value in (*once(metric, values), row.averages.get(metric))
                if value is not None
            ]
            assert sorted(printed) == sorted(wanted)


def test_every_config_with_a_printed_figure_has_it_in_the_zoo():
    known = set(list_configs())
    lines = dict(rows("MODEL_ZOO.md"))
    bare = set()
    for project in PAPERS:
        for table in paper_tables(project).values():
            for row in table.rows:
                if row.options and not row.base:
                    continue
                for dataset in {d for values in row.figures.values() for d in values}:
                    config = table.config(row, dataset)
                    if config in known and not numbers(" ".join(lines[config][2:])):
                        bare.add(config)
    assert bare == set()


def groups(project):
    """Sets of figures, one of which a line of a table prints from: a row, or a dataset."""
    for table in paper_tables(project).values():
        for row in table.rows:
            yield {value for values in row.figures.values() for value in values.values()}


@pytest.mark.parametrize("project", PAPERS)
def test_tables_that_a_person_writes_print_figures_of_the_papers(project):
    text = BLOCK.sub("", read(f"projects/{project}/README.md"))
    sections = [part for part in text.split("\n## ") if part.startswith("Published figures")]
    for line in (line for part in sections for line in part.splitlines()):
        stated = set(numbers(line)) if line.startswith("|") else set()
        assert any(stated <= group for group in groups(project)), f"{project}: {line}"
