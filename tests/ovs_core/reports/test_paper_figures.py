"""The papers' figures as data, and the tables that are run from them."""

from functools import cache

import pytest

from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config, list_configs
from ovs_core.methods.projects import project_names
from ovs_core.reports import comparison
from ovs_core.reports.comparison import run_table
from ovs_core.reports.paper_figures import paper_tables
from ovs_core.reports.tables import Row, Table, list_tables, table_of_paper

KNOWN = set(list_configs())
PAPERS = {p: paper_tables(p) for p in project_names() if paper_tables(p)}
TABLES = [(p, n, t) for p, tables in PAPERS.items() for n, t in tables.items()]
QUOTED = {
    "ZS3Net", "LSeg", "ZegFormer", "OpenSeg", "OVSeg", "SED", "ODISE", "SPNet", "CaGNet", "SIGN",
    "GroupViT", "TCL", "DeOP", "SAN", "PiCIE", "STEGO",
}  # fmt: skip


def flat(node, place=""):
    for key, value in node.items():
        if hasattr(value, "items"):
            yield from flat(value, f"{place}{key}.")
        elif key not in ("OUTPUT_DIR", "CONFIG_FILE"):
            yield place + key, value


@cache
def settings(config, options=()):
    path = find_config(config) if config in KNOWN else hidden(config)
    return dict(flat(load_cfg(path, list(options))))


def hidden(config):
    """A base that no list of configs shows."""
    project, _, rest = config.partition("/")
    some = min(c for c in KNOWN if c.startswith(f"{project}/"))
    return find_config(some).parents[some.count("/") - 1] / f"{rest}.yaml"


def test_all_papers_are_here():
    assert len(PAPERS) == 6
    assert sum(len(v) for _, _, t in TABLES for r in t.rows for v in r.figures.values()) > 500


def test_systems_that_the_suite_does_not_hold_are_quoted():
    quoted = {row.name.split(",")[0] for _, _, t in TABLES for row in t.rows if row.quoted}
    assert quoted >= QUOTED


@pytest.mark.parametrize(
    ("project", "name", "table"), TABLES, ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_figure_has_a_command_or_a_reason(project, name, table):
    for row in table_of_paper(table).rows:
        assert row.config or row.reason, row.title
        assert not row.config or row.config in KNOWN or hidden(row.config).is_file()


def ablations():
    for tables in PAPERS.values():
        seen = {}
        for table in tables.values():
            for row in table.rows:
                if row.alias:
                    seen[row.alias] = (table.config(row, "ade150"), row.options)
                if row.base:
                    seen[row.config] = (row.base, row.options)
        yield from (pytest.param(k, *v, id=k) for k, v in seen.items())


@pytest.mark.parametrize(("config", "base", "options"), list(ablations()))
def test_an_ablation_differs_from_its_base_in_what_its_row_says(config, base, options):
    assert settings(config) == settings(base, options)
    if options:
        assert settings(config) != settings(base)


def test_every_ablation_with_a_published_figure_is_held():
    held = {param.id for param in ablations()}
    files = {c for c in KNOWN if "/ablations/table" in c or "/peft/" in c}
    assert files <= held


def test_figures_of_a_line_are_as_many_as_datasets(tmp_path, monkeypatch):
    (tmp_path / "some").mkdir()
    (tmp_path / "some/paper_figures.yaml").write_text(
        "tables: {'1': {caption: a, place: b, datasets: [x, y], "
        "rows: [{name: r, figures: {mIoU: [1.0]}}]}}"
    )
    monkeypatch.setattr("ovs_core.reports.paper_figures.SOURCE_ROOT", tmp_path)
    with pytest.raises(UserError, match="paper_figures.yaml"):
        paper_tables("some")


def test_a_figure_of_another_dataset_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "_measure", lambda row, output: {"mIoU": 50.0})
    row = Row("CLIP", "cliptrase/tiny_clip", published={"mIoU": 12.5})
    table = Table("s", (row,), pictures=False)
    assert "(12.50)" in run_table(table, tmp_path / "a").markdown
    other = ["DATASETS.TEST", '("embedded_panoptic_val",)']
    assert "(12.50)" not in run_table(table, tmp_path / "b", options=other).markdown
    same = [
        "DATASETS.TEST",
        str(tuple(load_cfg(find_config("cliptrase/tiny_clip"), []).DATASETS.TEST)),
    ]
    assert "(12.50)" in run_table(table, tmp_path / "c", options=same).markdown


def test_a_quoted_row_stands_with_its_figure_and_why(tmp_path):
    table = list_tables()["hclip/1"].choose(["ade150"])
    quoted = [row for row in table.rows if not row.config]
    result = run_table(Table("s", tuple(quoted), metrics=("mIoU",), pictures=False), tmp_path)
    assert "ade150: SAN" in result.markdown
    assert "mIoU (27.50), not run: quoted" in result.markdown


def test_a_model_is_trained_by_one_config_for_all_its_sets(tmp_path, monkeypatch):
    trained = []

    def train_once(config, folder, options):
        trained.append((config, folder.name))
        return folder / "model_final.pth", 0.0

    monkeypatch.setattr(comparison, "train_once", train_once)
    monkeypatch.setattr(comparison, "_measure", lambda row, output: {"mIoU": 50.0})
    rows = tuple(r for r in list_tables()["maftplus/fcclip"].rows if r.model == "RN50")
    run_table(Table("s", rows, metrics=("mIoU",), pictures=False), tmp_path)
    assert len(rows) == 9 and set(trained) == {("maftplus/fcclip_rn50", "rn50")}
    measured = {r.group: r.config.removeprefix("maftplus/fcclip_rn50") for r in rows}
    assert measured["coco"] == "_coco" and measured["voc21"] == "_semantic"


def test_rows_of_one_model_are_trained_once(tmp_path, monkeypatch):
    folders = []

    def train_once(config, folder, options):
        folders.append(folder.name)
        return folder / "model_final.pth", 0.0

    monkeypatch.setattr(comparison, "train_once", train_once)
    monkeypatch.setattr(comparison, "_measure", lambda row, output: {"mIoU": 50.0})
    rows = [r for r in list_tables()["hclip/4a"].rows if r.model == "q = 64"]
    run_table(Table("s", tuple(rows), metrics=("mIoU",), pictures=False), tmp_path)
    assert len(rows) == 6
    assert set(folders) == {"q___64"}
