"""The demo: tables of all projects joined, one report that needs nothing else."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs_core.commands import load_command, main
from ovs_core.commands.dispatch import build_parser
from ovs_core.data.embedded import dataset
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.projects import project_names
from ovs_core.reports import comparison, demo, demo_page

FIGURES = {
    "sem_seg": {"mIoU": 50.0, "mIoU_S": 40.0, "mIoU_U": 60.0},
    "panoptic_seg": {"PQ": 30.0},
    "bbox": {"AP50_base": 20.0},
}
LONGEST = 1500  # kilobytes of a report


@pytest.fixture
def measured(monkeypatch):
    """Record what is measured in place of measuring it; SPT-SEG cannot be."""
    seen = []

    def evaluate(config, options, *, eval_only):
        cfg = load_cfg(config, options)
        seen.append(cfg)
        if cfg.MODEL.META_ARCHITECTURE == "SPTSeg":
            raise UserError("<no> weights")
        return FIGURES

    monkeypatch.setattr(comparison, "run", evaluate)
    drawn = np.full((40, 60, 3), 90, np.uint8)
    monkeypatch.setattr(demo, "picture_sheet", lambda *_, **__: drawn)
    return seen


def test_every_project_takes_part_with_weights_that_are_there():
    """All but SAN, whose weights are not shipped."""
    tables = [demo.joined(section) for section in demo.SECTIONS]
    rows = [row for table in tables for row in table.rows]
    assert {row.config.split("/")[0] for row in rows} >= set(project_names()) - {"san"}
    for row in rows:
        cfg = comparison.row_config(row, Path("out"))
        assert bool(cfg.MODEL.WEIGHTS) == row.shipped, row.title
    assert len({row.title for row in rows}) == len(rows)


def test_the_report_holds_tables_and_pictures_and_needs_no_network(measured, tmp_path, capsys):
    assert (
        main(["demo", "--output", str(tmp_path / "d"), "--processes", "1", "--samples", "1"]) == 1
    )
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == f"report    {tmp_path / 'd' / 'index.html'}"
    page = (tmp_path / "d" / "index.html").read_text()
    rows = [row for section in demo.SECTIONS for row in demo.joined(section).rows]
    for row in rows:
        assert f"<td>{row.title.replace(chr(39), '&#39;')}</td>" in page and row.title in shown
    assert "not run: &lt;no&gt; weights" in page and "not run: <no> weights" in shown
    assert page.count("data:image/webp;base64,") == 1
    assert not re.search(r"https?://|src=\"(?!data:)", page)
    assert len(measured) == len(rows)


def test_the_best_of_a_column_is_marked(tmp_path):
    section = demo.SECTIONS[0]
    outcomes = [
        comparison.Outcome("a", runs=[{"mIoU": 1.0}]),
        comparison.Outcome("b", runs=[{"mIoU": 2.0}]),
    ]
    result = comparison.Comparison("", outcomes, {})
    page = demo_page.write_page(tmp_path / "index.html", {section: result}, None).read_text()
    assert '<td class="best">2.00</td>' in page and "<td>1.00</td>" in page and "<img" not in page


def test_the_next_commands_are_commands(capsys):
    for _, line in demo_page.NEXT:
        program, *arguments = shlex.split(line)
        assert program == "ovsuite"
        build_parser(arguments).parse_args(arguments)
    for line in load_command("demo").EXAMPLES:
        arguments = shlex.split(line)[1:]
        assert build_parser(arguments).parse_args(arguments).samples > 0


@pytest.mark.slow
def test_the_demo_of_four_scenes(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
    few = replace(dataset.SPLITS["val"], count=4)
    monkeypatch.setitem(dataset.SPLITS, "val", few)
    line = ["demo", "--output", str(tmp_path / "d"), "--processes", "1", "--samples", "1"]
    assert main(line) == 0, capsys.readouterr().err
    assert "not run" not in (tmp_path / "d" / "index.html").read_text()
    with Image.open(tmp_path / "d" / "sheet.png") as sheet:
        assert sheet.width > 12 * 256  # picture, truth, and ten methods at least
    assert (tmp_path / "d" / "index.html").stat().st_size < LONGEST * 1000
