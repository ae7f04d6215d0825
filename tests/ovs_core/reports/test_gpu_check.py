"""The check of a GPU: what fails is a row, and the rest goes on."""

import json
import os

from ovs_core.commands.dispatch import main
from ovs_core.errors import UserError
from ovs_core.reports import gpu_parts
from ovs_core.reports.gpu_check import check_gpu, gpu_rows, write_table
from ovs_core.reports.gpu_parts import Part, Trial


def broken():
    raise RuntimeError("no kernel\nimage is available")


def dying():
    os._exit(3)


def needing():
    raise UserError("give the weights")


def mixed(device):
    yield Trial("first", lambda: {"speed": 2})
    yield Trial("second", broken)
    yield Trial("third", missing="a clone has it")
    yield Trial("fourth", needing)
    yield Trial("fifth", lambda: {"speed": 3})


def dead(device):
    yield Trial("alive", lambda: {"device": device})
    yield Trial("dying", dying)
    yield Trial("never", dict)


def unbuilt(device):
    raise ValueError("no list")


def test_what_fails_is_a_row_and_the_others_go_on():
    rows = list(gpu_rows("part", Part(mixed, 1), "cpu", 60))
    assert [row.state for row in rows] == ["good", "failed", "not here", "not here", "good"]
    assert rows[1].note == "RuntimeError: no kernel image is available"
    assert rows[4].figures == {"speed": 3}
    (row,) = gpu_rows("part", Part(unbuilt, 1), "cpu", 60)
    assert row.state == "failed" and row.note == "ValueError: no list"


def test_what_the_time_does_not_reach_is_a_row():
    rows = list(gpu_rows("part", Part(mixed, 1), "cpu", -1))
    assert {row.state for row in rows} == {"not reached"} and len(rows) == 5


def test_a_part_that_ends_its_process_takes_no_other_with_it(tmp_path):
    parts = {"dead": Part(dead, 1), "never": Part(unbuilt, 1)}
    rows = list(check_gpu("cpu", ["dead"], 60, parts))
    assert [(row.name, row.state) for row in rows] == [("alive", "good"), ("the rest", "failed")]
    assert rows[1].note == "the process ended with 3"
    table, data = write_table(rows, tmp_path / "kept", "cpu")
    assert "| dead" in table.read_text() and "CPU" in table.read_text()
    kept = json.loads(data.read_text())
    assert [row["state"] for row in kept["rows"]] == ["good", "failed"] and kept["torch"]


def test_where_there_is_no_gpu_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["doctor", "--gpu"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "no GPU can be used here" in said and "--device cpu" in said


def test_a_part_that_does_not_exist(capsys):
    assert main(["doctor", "--gpu", "--device", "cpu", "--only", "speed"]) == 1
    assert "--only" in capsys.readouterr().err


def test_without_a_clone_there_are_no_vectors(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_parts, "SOURCE_ROOT", tmp_path / "projects")
    (row,) = gpu_rows("parity", gpu_parts.PARTS["parity"], "cpu", 60)
    assert row.state == "not here" and "clone" in row.note


def test_the_real_shapes_are_configs_of_the_suite():
    from ovs_core.methods.configs import list_configs

    named = [name for name, _ in gpu_parts._real("cuda")]
    assert len(named) >= 4 and set(named) <= set(list_configs())
