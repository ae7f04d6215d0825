"""What papers claim of their methods, tried on the embedded world: a verdict for each claim.

A project states its claims in ``claims.py``, as ``CLAIMS``. Nothing here names a method.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from tabulate import tabulate

from ..errors import check_choice
from ..files.json_files import parse_json
from ..files.writing import atomic_write, write_json
from ..methods.projects import SOURCE_ROOT, project_names
from .comparison import Outcome, run_table
from .spread import spread
from .tables import Row, Table

HOLDS, IN_MEANS, FAILS = "holds", "in means only", "fails"
DEVIATIONS = 2.0  # by which a claim must hold where trainings were repeated
NOTE = f"""\
A claim *holds* where the difference is more than {DEVIATIONS:.0f} deviations (the root of both
variances added) over the seeds, or, between methods without training, where it has the right sign;
*{IN_MEANS}* where it has the right sign and is smaller."""


@dataclass(frozen=True)
class Claim:
    """One method, or part, is said to be better than another.

    Attributes:
        sentence: what is claimed.
        source: where; paper and table or section.
        better, worse: rows of the two; equal rows of several claims are trained once.
        metric: which figure decides.
        less: whether the smaller figure is the better one.
        reason: why it fails on the embedded world, with the check that shows it; "" if it holds.
    """

    sentence: str
    source: str
    better: Row
    worse: Row
    metric: str = "mIoU"
    less: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: the claim.
        better, worse: the figures of its rows, one per seed; empty if a row was not run.
        missing: why there is no verdict; "" if there is one.
    """

    claim: Claim
    better: Sequence[float] = ()
    worse: Sequence[float] = ()
    missing: str = ""

    @property
    def difference(self) -> float:
        """How much better, in means."""
        gain = fmean(self.better) - fmean(self.worse)
        return -gain if self.claim.less else gain

    @property
    def deviation(self) -> float:
        """Of the difference; 0 where nothing was repeated."""
        spreads = [stdev(v) for v in (self.better, self.worse) if len(v) > 1]
        return sum(spread**2 for spread in spreads) ** 0.5

    @property
    def word(self) -> str:
        """``holds``, ``in means only``, ``fails`` or ``not measured``."""
        if self.missing:
            return "not measured"
        if self.difference <= 0:
            return FAILS
        return HOLDS if self.difference > DEVIATIONS * self.deviation else IN_MEANS


def list_claims() -> dict[str, tuple[Claim, ...]]:
    """Give the claims of all projects that state some."""
    return {
        project: importlib.import_module(f"{project}.claims").CLAIMS
        for project in project_names()
        if (SOURCE_ROOT / project / "claims.py").is_file()
    }


def run_claims(
    output: str | Path,
    *,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    options: Sequence[str] = (),
) -> dict[str, list[Verdict]]:
    """Train and measure what the claims compare.

    A project that is left out keeps what an earlier call measured into the same folder.

    Args:
        output: folder; finished trainings in it are not repeated, unfinished ones go on. The
            verdicts are written to ``claims.json``.
        only: projects; none for all.
        seeds: every trained row is trained once with each.
        options: KEY VALUE overrides of every training and evaluation.

    Returns:
        The verdicts of each project.

    Raises:
        UserError: for a project that claims nothing.
    """
    claims = list_claims()
    for name in only:
        check_choice("--only", name, claims)
    for project in only or claims:
        folder = Path(output) / project
        table = Table("", rows_of(claims[project]), metrics_of(claims[project]), pictures=False)
        run_table(table, folder, options=options, seeds=seeds, samples=0)
    verdicts = {
        project: judge(stated, _outcomes(Path(output) / project))
        for project, stated in claims.items()
    }
    write_json(Path(output) / "claims.json", listed_verdicts(verdicts))
    return verdicts


def rows_of(claims: Sequence[Claim]) -> tuple[Row, ...]:
    """The rows that claims compare, each once."""
    return tuple({row.title: row for c in claims for row in (c.worse, c.better)}.values())


def metrics_of(claims: Sequence[Claim]) -> tuple[str, ...]:
    """The figures that decide, each once."""
    return tuple(dict.fromkeys(claim.metric for claim in claims))


def judge(claims: Sequence[Claim], outcomes: Mapping[str, Outcome]) -> list[Verdict]:
    """Hold claims against what was measured.

    Args:
        claims: of one project.
        outcomes: by the titles of rows.
    """
    return [_judge(claim, outcomes) for claim in claims]


def write_claims(verdicts: Mapping[str, Sequence[Verdict]], file: str | Path) -> str:
    """Write the document of all claims.

    Args:
        verdicts: of each project.
        file: Markdown.

    Returns:
        The document.
    """
    text = "\n".join(["# The papers' claims on the embedded world", "", *_document(verdicts)])
    atomic_write(Path(file), text)
    return text


def listed_verdicts(verdicts: Mapping[str, Sequence[Verdict]]) -> list[dict[str, Any]]:
    """What a file keeps of the verdicts."""
    return [
        {
            "project": project, "claim": v.claim.sentence, "metric": v.claim.metric,
            "better": list(v.better), "worse": list(v.worse), "verdict": v.word,
            "missing": v.missing,
        }
        for project, found in verdicts.items()
        for v in found
    ]  # fmt: skip


def _outcomes(folder: Path) -> dict[str, Outcome]:
    file = folder / "table.json"
    listed = parse_json(file.read_text(encoding="utf-8")) if file.is_file() else []
    return {one["title"]: Outcome(**one) for one in listed}


def _judge(claim: Claim, outcomes: Mapping[str, Outcome]) -> Verdict:
    values: list[list[float]] = []
    for row in (claim.better, claim.worse):
        outcome = outcomes.get(row.title)
        if outcome is None:
            return Verdict(claim, missing=f"{row.title} was not run")
        if outcome.not_run:
            return Verdict(claim, missing=f"{row.title}: {outcome.not_run.splitlines()[0]}")
        values.append([run[claim.metric] for run in outcome.runs if claim.metric in run])
        if not values[-1]:
            return Verdict(claim, missing=f"{row.title} has no {claim.metric}")
    better, worse = values
    return Verdict(claim, better, worse)


def _document(verdicts: Mapping[str, Sequence[Verdict]]) -> list[str]:
    lines = [
        "Made by `ovsuite claims --document docs/claims.md` "
        f"(PyTorch {torch.__version__.split('+')[0]}).",
        "",
        NOTE,
    ]
    for project, found in verdicts.items():
        rows = [
            (v.claim.sentence, v.claim.source, v.claim.metric, *_figures(v), v.word) for v in found
        ]
        heads = ("claim", "source", "figure", "better", "than", "difference", "here it")
        lines += ["", f"## {project}", ""]
        lines += [tabulate(rows, headers=heads, tablefmt="github", disable_numparse=True)]
        lines += _remarks(found)
    return [*lines, ""]


def _figures(verdict: Verdict) -> tuple[str, str, str]:
    names = (verdict.claim.better.title, verdict.claim.worse.title)
    if verdict.missing:
        return (*names, "–")
    first, second = (
        f"{name} {spread(values)}"
        for name, values in zip(names, (verdict.better, verdict.worse), strict=True)
    )
    return first, second, f"{verdict.difference:+.2f}"


def _remarks(found: Sequence[Verdict]) -> list[str]:
    """Why what fails fails, and why what is missing is."""
    missing = dict.fromkeys(v.missing for v in found if v.missing)
    failing = {
        v.claim.sentence: v.claim.reason or "not explained"
        for v in found
        if v.word in (FAILS, IN_MEANS)
    }
    lines = [f"- not measured: {reason}" for reason in missing]
    lines += [f"- *{sentence}*: {reason}" for sentence, reason in failing.items()]
    return ["", *lines] if lines else []
