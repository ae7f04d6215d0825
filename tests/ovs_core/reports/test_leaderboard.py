"""Leaderboards: one rule for all, what was measured is kept, what is not there is named."""

import json
from dataclasses import replace
from statistics import mean

import pytest
from PIL import Image

from cliptrase.methods.registry import method_names
from cliptrase.tables import PAPER
from ovs_core.commands import load_command, main
from ovs_core.data.build import dataset_metadata
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.reports import boards, leaderboard
from ovs_core.reports.boards import find_board
from ovs_core.reports.leaderboard import Reached, run_board
from ovs_core.reports.leaderboard_files import lines_of, write_board
from ovs_core.words.dataset_words import dataset_vocabulary


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "none"))


@pytest.fixture
def measured(monkeypatch):
    """Configs that were measured; what is reached depends on the method alone."""
    seen = []

    def measure(cfg, samples):
        method = cfg.MODEL.CLIPTRASE.METHOD
        seen.append(method)
        if method == "proxyclip":
            raise UserError("no weights")
        value = 10.0 * method_names().index(method)
        return Reached({"mIoU": value, "mIoU_union": value - 1}, 1.5, 20.0)

    monkeypatch.setattr(leaderboard, "_measure", measure)
    return seen


def test_the_example_measures_what_an_evaluation_does(no_data, tmp_path, capsys):
    line, *_ = load_command("leaderboard").EXAMPLES
    assert main(line.split()[1:]) == 0, capsys.readouterr().err
    assert "clip on embedded: mIoU" in capsys.readouterr().out
    folder = tmp_path / "output/leaderboard/embedded"
    content = json.loads((folder / "leaderboard.json").read_text())
    assert {row["name"] for row in content["rows"]} == {"clip", "sclip"}
    for row in content["rows"]:
        own = folder / row["name"] / "embedded"
        (written,) = own.rglob("sem_seg_evaluation.json")
        report = json.loads(written.read_text())
        assert report["pictures"] == 1
        found = row["sets"]["embedded"]
        assert found["figures"]["mIoU"] == report["figures"]["mIoU"]
        assert found["time"] > 0 and found["memory"] >= 0
    assert Image.open(folder / "leaderboard.png").width > 500
    assert "| sclip" in (folder / "leaderboard.md").read_text()
    assert main(line.split()[1:]) == 0
    assert capsys.readouterr().out.count("(kept)") == 2


def test_what_was_measured_is_kept_while_nothing_changes(no_data, measured, tmp_path):
    board = find_board("embedded")
    file = tmp_path / "clip" / "embedded" / "row.json"

    def run(**more):
        measured.clear()
        run_board(board, tmp_path, only=["clip", "sclip"], **more)
        return measured

    assert run() == ["clip", "sclip"] and run() == []
    file.write_text("{")
    assert run() == ["clip"]
    file.write_text(json.dumps({**json.loads(file.read_text()), "key": "another"}))
    assert run() == ["clip"]
    assert run(samples=3) == ["clip", "sclip"]
    assert run(samples=3, options=["MODEL.CLIPTRASE.LOGIT_SCALE", "9.0"]) == ["clip", "sclip"]


def test_all_methods_are_found_and_one_that_fails_does_not_end_the_others(
    no_data, measured, tmp_path, capsys
):
    assert main(["leaderboard", "embedded"]) == 1
    assert measured == method_names()
    text = capsys.readouterr().out
    assert "- proxyclip on embedded was not run: no weights\n" in text
    content = json.loads((tmp_path / "output/leaderboard/embedded/leaderboard.json").read_text())
    means = {line["name"]: line["means"][0] for line in content["lines"]}
    assert set(means) == set(method_names()) and means["proxyclip"] is None
    ranked = [value for value in means.values() if value is not None]
    assert ranked == sorted(ranked, reverse=True)


def test_sets_that_are_not_there_are_named_beside_published_figures(no_data, measured, capsys):
    assert main(["leaderboard", "vitb16"]) == 0
    text = capsys.readouterr().out
    board = find_board("vitb16")
    assert measured == [] and all(f"- {data.name} is missing: " in text for data in board.sets)
    own = PAPER["naclip"].rows[0].figures["mIoU"]
    stated = f"| {mean(own.values()):.2f} "
    assert any(stated in row for row in text.splitlines() if row.startswith("| naclip"))
    assert main(["leaderboard", "vitb16", "MODEL.CLIPTRASE.METHDO", "clip"]) == 1
    assert "METHOD" in capsys.readouterr().err


@pytest.mark.parametrize("data", find_board("vitb16").sets, ids=lambda data: data.name)
def test_every_set_has_its_words_and_its_background(data):
    first = find_board("vitb16").entrants[0]
    cfg = load_cfg(find_config(first.config), first.options_on(data))
    metadata, node = dataset_metadata(data.dataset), cfg.MODEL.OVS
    words = dataset_vocabulary(
        metadata, name_field=node.NAME_FIELD, synonym_field=node.SYNONYM_FIELD
    )
    assert len(words) == len(metadata.stuff_classes)
    with_background = words.names[0] == "background"
    assert data.has_background == with_background
    assert cfg.MODEL.CLIPTRASE.LAST_STEPS.PROB_THD == (0.1 if with_background else 0)


def test_two_rules_on_one_board_are_refused(no_data, measured, tmp_path):
    board = find_board("embedded")
    first, other, *_ = board.entrants
    other = replace(other, options=(*other.options, "INPUT.MMSEG.SHORT_SIDE", "64"))
    with pytest.raises(UserError, match=f"{other.name} and {first.name} .* differ in INPUT"):
        run_board(replace(board, entrants=(first, other)), tmp_path)
    assert measured == []
    with pytest.raises(UserError, match="--only: 'clp' is unknown. Did you mean 'clip'"):
        run_board(board, tmp_path, only=["clp"])
    with pytest.raises(UserError, match="board: 'embeded' is unknown"):
        find_board("embeded")
    with pytest.raises(UserError, match=f"two entrants are called {first.name}"):
        boards._with_entrants("embedded", [first, first])


def test_a_mean_is_over_all_sets_that_are_there(tmp_path):
    board = find_board("vitb16")
    names = [data.name for data in board.sets[:2]]
    found = [Reached({"mIoU": v, "mIoU_union": v / 2}, v / 10, v) for v in (20.0, 40.0)]
    found[1].figures["oracle"] = 1.0  # knows the truth
    by_name = {entrant.name: entrant for entrant in board.entrants}
    whole = leaderboard.Standing(by_name["naclip"], dict(zip(names, found, strict=True)))
    half = leaderboard.Standing(by_name["proxyclip"], {names[0]: found[0]}, {names[1]: "why"})
    first, second = lines_of([half, whole], names, board)
    published = PAPER["naclip"].rows[0].figures["mIoU"]
    assert (first.name, first.means, first.time, first.memory) == ("naclip", (30.0, 15.0), 3, 40)
    assert first.published == mean(published[name] for name in names)
    assert (second.name, second.means, second.time) == ("proxyclip", (None, None), None)
    missing = {data.name: "not here" for data in board.sets[2:]}
    text = write_board(board, [half, whole], missing, tmp_path)
    assert f"- proxyclip on {names[1]} was not run: why" in text
    assert "naclip (oracle)" in text and "40.00 oracle" in text and "20.00 oracle" not in text
    assert (tmp_path / "leaderboard.png").is_file()
