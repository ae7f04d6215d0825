"""What stands between the marks of a document comes from the papers' data files."""

import pytest

from ovs_core.errors import UserError
from ovs_core.reports import paper_figures
from ovs_core.reports.figure_documents import write_figures

DATA = """
tables:
  "1":
    caption: "systems"
    place: "Table 1"
    note: "on a set"
    metric_rule: "union"
    datasets: [voc20, ade150]
    rows:
      - {name: "SAN", quoted: true, figures: {pACC: [~, ~], mIoU: [9, ~]}}
      - {name: "ours", config: "some/{dataset}", figures: {pACC: [1, 2.25], mIoU: [40, 41.5]},
         averages: {mIoU: 40.75}}
      - {name: "CLIP", config: "some/{dataset}", options: [KEY, x], figures: {mIoU: [3, 4]}}
      - {name: "hand", reason: "counted elsewhere", figures: {parameters_M: [7, 7]}}
  "2":
    caption: "more"
    place: "Table 2"
    datasets: [voc20]
    rows:
      - {name: "ours", config: "some/{dataset}", figures: {mIoU: [40.5]}}
      - {name: "part", config: "some/part", base: "some/voc20", options: [A, b],
         alias: "some/other", figures: {mIoU: [38]}}
variants:
  - {name: "a second name", config: some/same, base: some/ade150}
"""
WHOLE = """\
<!-- paper: some -->

**Table 1, systems** (`ovsuite tables some 1`).
Cells: pACC / mIoU. Metric rule: union. On a set.

| row | measured here by | voc20 | ade150 | mean | parameters_M |
| --- | --- | --- | --- | --- | --- |
| SAN | quoted | – / 9.0 | – | – | – |
| ours | `some/*` | 1.00 / 40.0 | 2.25 / 41.5 | – / 40.8 | – |
| CLIP | `some/*` `KEY x` | – / 3.0 | – / 4.0 | – | – |
| hand | counted elsewhere | – | – | – | 7 |
"""


@pytest.fixture(autouse=True)
def paper(tmp_path, monkeypatch):
    (tmp_path / "some").mkdir()
    (tmp_path / "some/paper_figures.yaml").write_text(DATA)
    monkeypatch.setattr(paper_figures, "SOURCE_ROOT", tmp_path)
    for read in (paper_figures.paper_tables, paper_figures.variants):
        read.cache_clear()
    yield
    for read in (paper_figures.paper_tables, paper_figures.variants):
        read.cache_clear()


def filled(names, header, *rows):
    lines = [header, "| --- | --- | --- |", *rows]
    text = "before\n<!-- figures: some {} -->\n\n{}\n\n<!-- end -->\nafter\n"
    written = write_figures(text.format(names, "\n".join(lines)))
    assert write_figures(written) == written
    return [line for line in written.splitlines() if line.startswith("| `")]


def test_all_printed_tables_are_written_whole():
    text = "<!-- paper: some -->\nold\n<!-- end -->\n"
    written = write_figures(text)
    assert written.startswith(WHOLE)
    assert "| part | `some/part` | 38.0 |" in written
    assert written.endswith("\n\n<!-- end -->\n")
    assert write_figures(written) == written


def test_cells_of_configs_are_filled_and_others_stay():
    lines = filled("1", "| config | what | A-150 |", "| `some/ade150` | mine 1.5 | 9 |")
    assert lines == ["| `some/ade150` | mine 1.5 | 41.5 |"]
    lines = filled("1", "| config | what | CLIP |", "| `some/voc20` | mine |  |")
    assert lines == ["| `some/voc20` | mine | 3.0 |"]
    lines = filled("1", "| config | what | mIoU |", "| `some/same` | |  |", "| `some/no` | | 1 |")
    assert lines == ["| `some/same` |  | 41.5 |", "| `some/no` |  | – |"]
    lines = filled("2", "| config | what | PAS-20 |", "| `some/part` | | |", "| `some/other` | | |")
    assert lines == ["| `some/part` |  | 38.0 |", "| `some/other` |  | – |"]


def test_two_figures_for_one_cell_and_marks_that_mean_nothing_are_refused():
    with pytest.raises(UserError, match=r"some/voc20, voc20: 40\.0 and 40\.5 are printed"):
        filled("1 2", "| config | what | mIoU |", "| `some/voc20` | | |")
    with pytest.raises(UserError, match="some has no table 3"):
        filled("3", "| config | what | mIoU |")
    with pytest.raises(UserError, match="1 marks of figures, but 0 times"):
        write_figures("<!-- paper: some -->\n")
