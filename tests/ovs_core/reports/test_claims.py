"""Claims as data, their verdicts, and the document."""

import pytest

from ovs_core.commands import main
from ovs_core.engine.config import load_cfg
from ovs_core.methods.configs import find_config
from ovs_core.reports.claims import (
    Claim,
    judge,
    list_claims,
    listed_verdicts,
    rows_of,
    write_claims,
)
from ovs_core.reports.comparison import Outcome
from ovs_core.reports.tables import Row

GOOD, BAD = Row("good", "a/good", trained=True), Row("bad", "a/bad", trained=True)
CLAIM = Claim("good is better", "a paper", GOOD, BAD, reason="since it is small")


def outcomes(good, bad):
    runs = {"good": good, "bad": bad}
    return {
        title: Outcome(title, {}, [{"mIoU": v} for v in values]) for title, values in runs.items()
    }


@pytest.mark.parametrize("project", list_claims())
def test_every_claim_compares_two_configs_on_one_dataset(project):
    claims = list_claims()[project]
    assert len({claim.sentence for claim in claims}) == len(claims) > 0
    by_title = {}
    for claim in claims:
        assert claim.source and claim.better.title != claim.worse.title
        tests = set()
        for row in (claim.better, claim.worse):
            assert by_title.setdefault(row.title, row) == row  # a title is one row
            tests.add(tuple(load_cfg(find_config(row.config), row.options).DATASETS.TEST))
        assert len(tests) == 1
    assert {row.title for row in rows_of(claims)} == set(by_title)


@pytest.mark.parametrize(
    ("good", "bad", "word"),
    [
        ((50, 51, 52), (40, 41, 42), "holds"),
        ((50, 51, 52), (48, 50, 52), "in means only"),
        ((40, 41, 42), (50, 51, 52), "fails"),
        ((50,), (50,), "fails"),  # no difference is no gain
        ((50.1,), (50,), "holds"),  # nothing is random where nothing is trained
    ],
)
def test_verdicts(good, bad, word):
    (verdict,) = judge([CLAIM], outcomes(good, bad))
    assert verdict.word == word


def test_a_smaller_figure_can_be_the_better_one():
    claim = Claim("changes less", "a paper", GOOD, BAD, less=True)
    (verdict,) = judge([claim], outcomes((1, 1.1), (5, 5.1)))
    assert verdict.word == "holds" and verdict.difference == pytest.approx(4)


def test_a_row_that_did_not_run_gives_no_verdict():
    found = {**outcomes((50,), ()), "bad": Outcome("bad", not_run="no data\nat all")}
    (verdict,) = judge([CLAIM], found)
    assert (verdict.word, verdict.missing) == ("not measured", "bad: no data")
    assert judge([CLAIM], {})[0].missing == "good was not run"


def test_the_document_says_why_a_claim_fails(tmp_path):
    other = Claim("bad is bad", "a paper", BAD, GOOD)
    verdicts = judge([CLAIM, other], outcomes((40, 41), (50, 51)))
    text = write_claims({"a": verdicts}, tmp_path / "claims.md")
    assert "good 40.50 ± 0.71" in text and "| -10.00" in text and "| holds" in text
    assert "- *good is better*: since it is small" in text and "bad is bad*" not in text
    assert (tmp_path / "claims.md").read_text() == text
    assert [one["verdict"] for one in listed_verdicts({"a": verdicts})] == ["fails", "holds"]


def test_a_project_without_claims_is_named(tmp_path, capsys):
    assert main(["claims", "--only", "clipteech", "--output", str(tmp_path)]) == 1
    assert "Did you mean 'clipteacher'" in capsys.readouterr().err
