import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ovs_core.errors import UserError
from parity import import_all_runners
from parity import runner as parity
from parity.recording import Recorded, unread
from parity.runner import Tolerance, compare

TESTS = Path(__file__).resolve().parents[1]


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
    (row,) = parity.check_file("selftest", path)
    assert row.skipped
    assert "not produced" in row.note


def test_a_crash_fails_every_array_that_it_hid(tmp_path, capsys):
    path = write(tmp_path / "a.npz", {"out/y": X, "grad/x": X}, kind="crash")
    rows = results(path)
    assert {"(runner)", "y", "grad/x"} == rows.keys()
    assert not any(row.passed for row in rows.values())
    assert "boom" in rows["(runner)"].note


def test_a_setting_that_nobody_asks_for_fails(tmp_path):
    arrays = {"in/x": X, "out/y": 2 * X}
    config = {"width": 3, "seed": 1, "heads": [{"n": 1, "size": 2}]}
    rows = results(write(tmp_path / "a.npz", arrays, config=config))
    assert rows["(settings)"].note == "never asked for: config"
    rows = results(write(tmp_path / "b.npz", arrays, kind="reads", config=config))
    assert rows["(settings)"].note == "never asked for: config.heads[0].size"
    config["heads"][0].pop("size")
    assert all(
        row.passed for row in results(write(tmp_path / "c.npz", arrays, kind="reads")).values()
    )


@parity.parity_runner("selftest", "reads")
def run_reads(case):
    for head in case.config.get("heads", ()):
        case.config["width"], head.get("n")
    return run_double(case)


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x["a"],
        lambda x: x.get("a"),
        lambda x: dict(x),
        lambda x: {**x},
        lambda x: x | {},
        lambda x: {} | x,
        lambda x: x.items(),
        lambda x: x.values(),
        lambda x: x.copy(),
        lambda x: x.pop("a"),
        lambda x: json.dumps(x),
        lambda x: (lambda **given: given)(**x),
    ],
)
def test_every_way_to_read_a_setting_counts(ask):
    header = Recorded({"a": 1})
    assert list(unread(header)) == ["a"]
    assert "a" in header
    assert list(unread(header)) == ["a"]
    ask(header)
    assert list(unread(header)) == []


@parity.parity_runner("selftest", "facts")
def run_facts(case):
    return {"y": 2 * case.inputs["x"], "meta.norm": 2.0, "meta.trained": ["b", "a"]}


def test_facts_of_the_header_are_compared(tmp_path):
    arrays = {"in/x": X, "out/y": 2 * X}
    facts = {"norm": 2.0, "trained": ["a", "b"]}
    path = write(tmp_path / "a.npz", arrays, kind="facts", **facts)
    assert all(row.passed for row in results(path).values())
    path = write(tmp_path / "b.npz", arrays, kind="facts", norm=2.04, trained=["a"])
    assert [n for n, row in results(path).items() if not row.passed] == [
        "meta.norm",
        "meta.trained",
    ]
    with pytest.raises(UserError, match=r"states no 'meta\.norm'"):
        results(write(tmp_path / "c.npz", arrays, kind="facts"))


def test_infinities_and_complex_numbers_do_not_pass():
    inf = np.array([1.0, np.inf])
    assert compare(inf, inf, Tolerance(), name="x").passed
    assert not compare(np.array([1.0, 2.0]), inf, Tolerance(atol=np.inf), name="x").passed
    assert not compare(-inf, inf, Tolerance(atol=9, of_max=9), name="x").passed
    other = compare(np.array([1 + 5j]), np.array([1.0]), Tolerance(), name="x")
    assert "complex" in other.note
    assert not compare(np.array([1 + 5j]), np.array([1 + 4j]), Tolerance(atol=0.5), name="x").passed


def test_a_wholly_masked_array_is_skipped():
    row = compare(X, -X, Tolerance(where=np.zeros(3, bool)), name="x")
    assert row.skipped
    assert row.note == "wholly masked"


def test_lost_numbers_are_shown_as_such():
    row = compare(np.array([1.0, np.nan]), np.array([1.0, 2.0]), Tolerance(atol=9), name="x")
    assert np.isnan(row.absolute)
    assert "1 NaN on one side" in row.note


@pytest.mark.parametrize("reference", [X, X > 0, np.array([3, 1]), np.array("text")], ids=str)
def test_a_bound_that_two_percent_or_zero_would_meet_fails(reference):
    loose = Tolerance(atol=0.3, share=1.0)
    row = compare(reference, reference, loose, name="x")
    assert not row.passed
    assert row.note.startswith("would pass")
    assert compare(reference, reference, Tolerance(insensitive="why", share=1.0), name="x").passed
    assert compare(reference, reference, Tolerance(), name="x").passed


def test_a_run_that_compares_nothing_ends_with_1(tmp_path, capsys, monkeypatch):
    tool = runpy.run_path(str(TESTS.parent / "tools" / "check_parity.py"))
    path = write(tmp_path / "a.npz", {"in/x": X, "out/absent": X}, optional=["absent"])
    monkeypatch.setattr("sys.argv", ["check_parity.py", "selftest", str(path)])
    assert tool["main"]() == 1
    assert "nothing was compared" in capsys.readouterr().out


def shrunk(value, inside=False):
    """A header of which every bound is half as wide."""
    if isinstance(value, dict):
        return {k: shrunk(v, inside or k.endswith("tolerance")) for k, v in value.items()}
    if not inside or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value / 2
    figures = r"(?<![\w.])(?:\d+(?:\.\d+)?e-\d+|\d+\.\d+)"
    return re.sub(figures, lambda m: f"{float(m[0]) / 2:e}", value)


def read_header(path):
    with np.load(path, allow_pickle=False) as file:
        return json.loads(str(file["meta"])) if "meta" in file.files else {}


def data_files():
    for folder in sorted((TESTS / "data").iterdir()):
        for path in sorted(folder.glob("*.npz")):
            if read_header(path).get("kind") in parity.kinds(folder.name):
                yield folder.name, path


def test_every_reference_file_has_a_runner_and_a_test():
    import_all_runners()
    methods = set(parity.methods())
    files = [p for p in (TESTS / "data").glob("*/*.npz") if p.parent.name in methods]
    served = {p for p in files if read_header(p).get("kind") in parity.kinds(p.parent.name)}
    assert served == set(files)
    tests = " ".join(p.read_text() for p in TESTS.rglob("test_parity.py"))
    assert [name for name in {p.parent.name for p in served} if f'"{name}"' not in tests] == []


def allowed(bound, reference):
    largest = parity.largest_entry(reference)
    return bound.atol + (bound.rtol + bound.of_max) * largest + bound.share


def test_bounds_are_the_ones_that_the_files_state():
    """Half of the stated figures is half of the bound, but for what a folder's read-me states."""
    import_all_runners()
    files = list(data_files())
    assert len(files) > 100
    for method, path in files:
        case, references = parity.read_case(path), parity.read_references(path)
        half = replace(case, meta=Recorded(shrunk(json.loads(json.dumps(case.meta)))))
        rule = parity.rule_of(method, case)
        for name, reference in references.items():
            if reference.dtype.kind != "f" or name.startswith(("grad/", "delta3")):
                continue
            wide = allowed(rule(case, name, references), reference)
            assert allowed(rule(half, name, references), reference) <= wide / 2 + 2e-7, (path, name)


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
    three = np.array([0.0, 10.0, 10.0])
    assert compare(three + [0, 1, 0], three, Tolerance(share=0.4), name="x").passed
    masked = Tolerance(where=np.array([True, False]))
    assert compare(reference + [0, 1], reference, masked, name="x").passed
    assert not compare(reference + [1, 0], reference, masked, name="x").passed


def test_a_skipped_array_is_neither_passed_over_nor_counted():
    row = compare(None, np.ones(2), Tolerance(skip="needs real weights"), name="x")
    assert row.skipped
    assert "skip" in parity.format_rows([row])
    assert not compare(np.ones(2), np.ones(2), Tolerance(), name="x").skipped
