"""The papers' figures as data, and the tables that are run from them."""

import itertools
import statistics
from functools import cache

import pytest

from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config, list_configs
from ovs_core.methods.projects import project_names
from ovs_core.reports import comparison
from ovs_core.reports.comparison import run_table
from ovs_core.reports.paper_figures import paper_tables, variants
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


# Figures in the tables of the papers' texts, and their sum, counted there and not in the data
# files; parameters once for each line.
PRINTED = {
    "cliptrase/1": (74, 2352.95), "cliptrase/2": (70, 2044.53), "cliptrase/2-flops": (4, 6.1),
    "cliptrase/3": (30, 789.65), "cliptrase/4": (35, 1129.39), "cliptrase/5": (10, 380.45),
    "cliptrase/6": (120, 4208.36), "cliptrase/7": (120, 4246.87), "cliptrase/8": (10, 210.5),
    "cliptrase/figure-7": (1, 81.01),
    "hclip/1": (94, 3993.9), "hclip/2": (4, 186.8), "hclip/3": (70, 2805.56),
    "hclip/4a": (21, 910.46), "hclip/4b": (21, 895.7), "hclip/5": (8, 260.1),
    "sptseg/1": (75, 4194.8), "sptseg/2": (12, 1050.7), "sptseg/3": (15, 1321.1),
    "sptseg/4": (9, 795.8),
    "clipteacher/1": (107, 5626.5), "clipteacher/2": (24, 1846.3), "clipteacher/3": (20, 919.3),
    "clipteacher/4": (12, 589.3), "clipteacher/5": (12, 634.5),
    "maftplus/semantic": (10, 446.2), "maftplus/panoptic": (3, 133.5),
}  # fmt: skip


def figures(table):
    for row in table.rows:
        for metric, values in row.figures.items():
            once = metric == "parameters_M"
            yield from set(values.values()) if once else values.values()
        yield from row.averages.values()


@pytest.mark.parametrize("name", PRINTED)
def test_the_tables_of_the_papers_are_whole(name):
    project, _, table = name.partition("/")
    found = list(figures(PAPERS[project][table]))
    count, total = PRINTED[name]
    assert (len(found), round(sum(found), 2)) == (count, total)


def test_printed_means_are_those_of_their_lines_but_for_one():
    other = {
        (table.place, row.name)
        for _, _, table in TABLES
        for row in table.rows
        for metric, mean in row.averages.items()
        if abs(statistics.mean(row.figures[metric].values()) - mean) > 0.015
    }
    assert other == {("Table 3", "CLIP")}
    assert "11.04" in PAPERS["cliptrase"]["3"].note


def differences():
    """(config, base, options) of all lines that name one; "" for options on the base alone."""
    for project, tables in PAPERS.items():
        for table in tables.values():
            for row, dataset in itertools.product(table.rows, table.datasets):
                config = table.config(row, dataset)
                if row.base:
                    yield config, table.base(row, dataset), row.options
                elif row.config and row.options and dataset == table.datasets[0]:
                    yield "", config, row.options
                if row.alias and dataset == "ade150":
                    yield row.alias, config, row.options
        for row in variants(project):
            yield row.config, row.base, row.options


STATED = list(dict.fromkeys(differences()))


@pytest.mark.parametrize(
    ("config", "base", "options"), STATED, ids=[f"{c or b} {' '.join(o)}" for c, b, o in STATED]
)
def test_a_config_differs_from_its_base_in_what_its_row_says(config, base, options):
    plain, changed = settings(base), settings(base, options)
    named = dict(zip(options[::2], options[1::2], strict=True))
    assert {key for key in changed if changed[key] != plain[key]} <= named.keys()
    if config:
        assert settings(config) == changed


def test_every_option_of_a_row_changes_its_base_or_names_its_default():
    """An option that a base has already may stand there only where the row says which it is."""
    for _, base, options in STATED:
        plain, changed = settings(base), settings(base, options)
        same = {key for key in options[::2] if changed[key] == plain[key]}
        assert not same or same < set(options[::2]) or same == {"MODEL.CLIPTRASE.METHOD"}, base


def test_every_config_of_an_ablation_is_held():
    held = {config for config, _, _ in STATED}
    kinds = ("/ablations/", "/peft/", "/baselines/clip", "/baselines/sclip", "/unsupervised/")
    own = ("sclip_own", "maskclip_released")  # by protocols of their own, with figures
    files = {c for c in KNOWN if any(k in c for k in kinds) and not c.endswith("Base-Ablation")}
    assert {c for c in files if not any(name in c for name in own)} <= held
    assert {"hclip/vitb16_paper", "hclip/vitb16_whole", "cliptrase/d2/parity"} <= held


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
