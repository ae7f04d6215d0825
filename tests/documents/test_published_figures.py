"""Every figure that a document prints as published is the one of the papers' data files."""

import re
from collections import defaultdict

import pytest

from cliptrase.tables import DATASETS
from ovs_core.files.yaml_files import read_yaml
from ovs_core.methods.configs import find_config, list_configs
from ovs_core.methods.projects import project_names
from ovs_core.reports.paper_figures import paper_tables

from .reading import read
from .test_zoo import rows

DATASET_OF = {
    "A-847": "ade847", "PC-459": "context459", "A-150": "ade150", "PC-59": "context59",
    "PAS-20": "voc20", "PAS-20b": "voc20b", "VOC-20": "voc20",
}  # fmt: skip
METRIC_OF = {
    "pAcc": "pACC", "S": "mIoU_S", "U": "mIoU_U", "h": "hIoU", "novel": "AP50_novel",
    "base": "AP50_base", "published mIoU": "mIoU",
}  # fmt: skip
# Rows of several methods in one, which tests of their own compare.
SEVERAL = ("cliptrase/benchmarks/", *(f"cliptrase/{m}/" for m in
           ("clearclip", "naclip", "proxyclip", "resclip", "training_free")))  # fmt: skip
PAPERS = [project for project in project_names() if paper_tables(project)]


def numbers(text):
    return [float(number) for number in re.findall(r"(?<![\d.,])\d+\.\d+(?![\d.])", text)]


def figures_by_config(project):
    """(config, dataset, metric, figure) of every row that a config alone stands for."""
    for table in paper_tables(project).values():
        for row in table.rows:
            for metric, values in row.figures.items():
                for dataset, value in values.items():
                    if row.alias and dataset == "ade150":
                        yield row.alias, dataset, metric, value
                    if row.config and (row.base or not row.options):
                        yield table.config(row, dataset), dataset, metric, value


def miou(paper):
    """Row -> dataset -> mIoU."""
    return {row.name: row.figures["mIoU"] for row in paper.rows}


@pytest.fixture(scope="module")
def printed():
    """Config -> its (dataset, metric, figure)."""
    found = defaultdict(set)
    for project in PAPERS:
        for config, *figure in figures_by_config(project):
            found[config].add(tuple(figure))
    return found


def stands_for(config, printed):
    """Figures of a config, or of the one that it renames or tests elsewhere."""
    if config in printed:
        return printed[config]
    content = read_yaml(find_config(config))
    if content.keys() <= {"_BASE_", "OUTPUT_DIR"} and isinstance(content["_BASE_"], str):
        other = f"{config.rpartition('/')[0]}/{content['_BASE_'].removesuffix('.yaml')}"
        return stands_for(other, printed)
    return set().union(*(v for k, v in printed.items() if config.startswith(k + "_")))


def tables_of_the_zoo():
    """(config, header cell, cell) of the tables behind the section on the embedded world."""
    text = read("MODEL_ZOO.md").split("## The embedded world")[1]
    text = "\n## " + text.split("\n## ", 1)[1]
    header = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0] == "config":
            header = cells
        elif cells and cells[0].startswith("`") and header:
            config = cells[0].strip("`")
            yield from ((config, name, cell) for name, cell in zip(header, cells, strict=True))


def test_the_zoo_prints_figures_of_the_papers(printed):
    known, compared = set(list_configs()), 0
    for config, name, cell in tables_of_the_zoo():
        if config not in known or config.startswith(SEVERAL):
            continue
        dataset, metric = DATASET_OF.get(name), METRIC_OF.get(name)
        fitting = {
            value
            for d, m, value in stands_for(config, printed)
            if (dataset is None or d == dataset) and (metric is None or m == metric)
        }
        for number in numbers(cell) if dataset or metric or name == "published" else ():
            assert number in fitting, f"{config}, {name}: {number} is not in {sorted(fitting)}"
            compared += 1
    assert compared > 250


def test_no_printed_figure_of_a_config_is_missing_in_the_zoo(printed):
    """A figure that belongs to one cell stands there, not a dash."""
    empty = [
        (config, name)
        for config, name, cell in tables_of_the_zoo()
        if cell == "–" and (name in DATASET_OF or name in METRIC_OF)
        for d, m, _ in printed.get(config, ())
        if d == DATASET_OF.get(name, d) and m == METRIC_OF.get(name, m) and m != "parameters_M"
    ]
    assert empty == []


def test_the_zoo_repeats_the_benchmarks_of_cliptrase():
    table = {name: cells for name, cells in rows("MODEL_ZOO.md")}
    for number, size in (("6", "224"), ("7", "336")):
        paper = paper_tables("cliptrase")[number]
        for data in paper.datasets:
            cells = table[f"cliptrase/benchmarks/{data}_{size}"]
            figures = [miou(paper)[m][data] for m in ("CLIPtrase", "SCLIP", "CLIP")]
            assert [float(c) for c in cells[2:5]] == figures


def test_the_zoo_repeats_the_figures_of_the_own_protocols():
    table = {name: cells for name, cells in rows("MODEL_ZOO.md")}
    for method in ("clearclip", "naclip", "proxyclip", "resclip"):
        paper = paper_tables("cliptrase")[method]
        for tower in ("vitb16", "vitl14"):
            own = miou(paper)[tower]
            plain = miou(paper).get(f"{tower} without refinement", {})
            for data in DATASETS:
                suffix = "_vitl14" if tower == "vitl14" else ""
                cells = table[f"cliptrase/{method}/{data}{suffix}"]
                assert cells[2] == str(own.get(data, "–"))
                assert cells[3] == (f"without refinement {plain[data]}" if data in plain else "")


def groups(project):
    """Sets of figures, one of which a line of a table prints from: a row, or a dataset."""
    found = defaultdict(set)
    for number, table in paper_tables(project).items():
        for row in table.rows:
            for metric, values in row.figures.items():
                for dataset, value in values.items():
                    found["row", number, row.name].add(value)
                    found["dataset", dataset, metric in ("pACC", "mACC", "fwIoU", "mIoU")].add(
                        value
                    )
    return list(found.values())


@pytest.mark.parametrize("project", PAPERS)
def test_readmes_print_figures_of_the_papers(project):
    text = read(f"projects/{project}/README.md")
    sections = [part for part in text.split("\n## ") if part.startswith("Published figures")]
    for line in (line for part in sections for line in part.splitlines()):
        stated = set(numbers(line)) if line.startswith("|") else set()
        assert any(stated <= group for group in groups(project)), f"{project}: {line}"
