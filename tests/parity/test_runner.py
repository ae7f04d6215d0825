import json

import numpy as np
import pytest

from ovs_core.errors import UserError
from parity import runner as parity
from parity.runner import Tolerance, compare


def write(path, arrays, **meta):
    header = {"kind": "double", "tolerance": {"rtol": 1e-4, "atol": 1e-6}, **meta}
    np.savez(path, meta=json.dumps(header), **arrays)
    return path


@parity.parity_runner("selftest", "double")
def run_double(case):
    assert not hasattr(case, "references")
    return {"y": 2 * case.inputs["x"], "labels": case.inputs["x"] > 0}


@parity.parity_runner("selftest", "crash")
def run_crash(case):
    raise RuntimeError("boom")


X = np.array([1.0, -2.0, 3.0], np.float32)


def results(path):
    return {row.name: row for row in parity.check_file("selftest", path)}


def test_equal_arrays_pass(tmp_path):
    path = write(tmp_path / "a.npz", {"in/x": X, "out/y": 2 * X, "out/labels": X > 0})
    assert all(row.passed for row in parity.check_file("selftest", path))


def test_differences_missing_arrays_and_shapes_fail(tmp_path):
    arrays = {
        "in/x": X,
        "out/y": 2 * X + np.float32(1e-3),
        "out/labels": X > 2,
        "out/absent": X,
    }
    rows = results(write(tmp_path / "a.npz", arrays))
    assert not any(row.passed for row in rows.values())
    assert rows["absent"].note == "not produced"
    assert rows["y"].absolute == pytest.approx(1e-3, rel=1e-2)
    rows = results(write(tmp_path / "b.npz", {"in/x": X, "out/y": X[:2]}))
    assert "shape (3,), expected (2,)" in rows["y"].note


def test_optional_arrays_may_be_absent(tmp_path):
    path = write(tmp_path / "a.npz", {"in/x": X, "out/absent": X}, optional=["absent"])
    assert parity.check_file("selftest", path) == []


def test_a_crash_is_a_failed_row(tmp_path, capsys):
    path = write(tmp_path / "a.npz", {"out/y": X}, kind="crash")
    (row,) = parity.check_file("selftest", path)
    assert not row.passed
    assert "boom" in row.note


def test_unknown_kinds_and_broken_files_are_named(tmp_path):
    with pytest.raises(UserError, match="no runner for kind 'dubble'.*Did you mean 'double'"):
        parity.check_file("selftest", write(tmp_path / "a.npz", {"out/y": X}, kind="dubble"))
    (tmp_path / "b.npz").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"b\.npz: not a readable"):
        parity.check_file("selftest", tmp_path / "b.npz")
    with pytest.raises(UserError, match="no such file or folder"):
        parity.find_files([tmp_path / "none"])


def test_nan_meets_nan_only():
    nan = np.array([1.0, np.nan])
    assert compare(nan, nan, Tolerance(), name="x").passed
    assert not compare(np.array([1.0, 0.0]), nan, Tolerance(atol=9), name="x").passed
    assert not compare(nan, np.array([1.0, 0.0]), Tolerance(atol=9), name="x").passed


def test_every_part_of_a_tolerance():
    reference = np.array([0.0, 10.0])
    assert compare(reference + 0.1, reference, Tolerance(atol=0.11), name="x").passed
    assert not compare(reference + 0.1, reference, Tolerance(rtol=0.02), name="x").passed
    assert compare(reference + 0.1, reference, Tolerance(of_max=0.011), name="x").passed
    assert compare(reference + [0, 1], reference, Tolerance(share=0.5), name="x").passed
    masked = Tolerance(where=np.array([True, False]))
    assert compare(reference + [0, 1], reference, masked, name="x").passed
    assert not compare(reference + [1, 0], reference, masked, name="x").passed


def test_a_skipped_array_is_neither_passed_over_nor_counted():
    row = compare(None, np.ones(2), Tolerance(skip="needs real weights"), name="x")
    assert row.skipped
    assert "skip" in parity.format_rows([row])
    assert not compare(np.ones(2), np.ones(2), Tolerance(), name="x").skipped
