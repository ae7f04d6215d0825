"""Two ways to train, each with several seeds: the table of their differences, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy import stats
from tabulate import tabulate

from ..engine.changes import PLACES, among
from ..engine.config import dotted_keys
from ..engine.config_files import read_config
from ..errors import UserError
from ..evaluation.oracle import ORACLE
from ..files.json_files import parse_json
from .spread import spread

CONFIDENCE = 0.95
_OWN = (*PLACES, "SEED")  # what the runs of a group may differ in

Key = tuple[str, str, str]  # dataset, task, metric


@dataclass(frozen=True)
class SeededRun:
    """A finished training and what its evaluations found.

    Attributes:
        folder: its output folder.
        config: dotted key -> value.
        figures: (dataset, task, metric) -> value.
        rules: (dataset, task) -> how its figures are defined.
        oracle: (dataset, task) of figures that know the truth.
    """

    folder: Path
    config: Mapping[str, Any]
    figures: Mapping[Key, float]
    rules: Mapping[tuple[str, str], str]
    oracle: frozenset[tuple[str, str]] = frozenset()

    @property
    def seed(self) -> int:
        """What it was trained with."""
        return int(self.config["SEED"])


@dataclass(frozen=True)
class Difference:
    """One figure of both groups.

    Attributes:
        dataset, task, metric: which figure.
        first, second: its values, in the order of ``seeds``.
        seeds: what the runs were trained with.
        mean: of second - first.
        half_width: of the interval that holds the true mean with 95 % confidence, by Student's t;
            None for one pair.
        p: chance of a mean as far from 0 if there were no difference (paired t-test); None for one
            pair, or where all differences are equal.
        oracle: whether the figures of a run know the truth.
    """

    dataset: str
    task: str
    metric: str
    first: Sequence[float]
    second: Sequence[float]
    seeds: Sequence[int]
    mean: float
    half_width: float | None
    p: float | None
    oracle: bool = False


def read_run(folder: str | Path) -> SeededRun:
    """Read the config and the evaluations of a training.

    Args:
        folder: its ``OUTPUT_DIR``.

    Raises:
        UserError: if it is none, or has no evaluation, or one that cannot be read.
    """
    folder = Path(folder)
    config = dict(dotted_keys(read_config(folder / "config.yaml")))
    files = sorted(folder.glob("inference/*/*_evaluation.json"))
    if not files:
        raise UserError(
            f"{folder}: no evaluation of it is there (inference/*/*_evaluation.json); name "
            "DATASETS.TEST in its training, or go on with --resume"
        )
    figures: dict[Key, float] = {}
    rules: dict[tuple[str, str], str] = {}
    oracle: set[tuple[str, str]] = set()
    for file in files:
        try:
            found = parse_json(file.read_text(encoding="utf-8"))
            place = (str(found["dataset"]), str(found["task"]))
            rules[place] = str(found["rule"])
            oracle |= {place} if found.get("oracle") else set()
            values = {m: v for m, v in found["figures"].items() if v is not None}
            figures |= {(*place, metric): float(value) for metric, value in values.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file}: is no evaluation of this suite ({error!r})") from error
    return SeededRun(folder, config, figures, rules, frozenset(oracle))


def pair_runs(first: Sequence[SeededRun], second: Sequence[SeededRun]) -> list[Difference]:
    """Compare two groups of runs by their seeds.

    Args:
        first: runs of one config.
        second: runs of another one, with the same seeds.

    Returns:
        The differences of all figures that every run has.

    Raises:
        UserError: if a group is of several configs, seeds do not match, or figures are of other
            rules or of no common set.
    """
    one, other = _by_seed(first), _by_seed(second)
    if one.keys() != other.keys():
        lonely = sorted(one.keys() ^ other.keys())
        raise UserError(
            f"seed {lonely[0]} has a run in one group only ({sorted(one)}, {sorted(other)}); train "
            "the other one with it, or leave it out"
        )
    seeds, runs = sorted(one), [*first, *second]
    _check_rules(runs)
    common = [key for key in runs[0].figures if all(key in run.figures for run in runs)]
    if not common:
        raise UserError(
            f"{runs[0].folder} and the others have no figure in common; evaluate all on one "
            "dataset (DATASETS.TEST)"
        )
    found = [
        _difference(key, [[group[s].figures[key] for s in seeds] for group in (one, other)], seeds)
        for key in common
    ]
    knowing = {place for run in runs for place in run.oracle}
    return [replace(one, oracle=(one.dataset, one.task) in knowing) for one in found]


def differing_keys(first: SeededRun, second: SeededRun) -> dict[str, tuple[Any, Any]]:
    """Config keys, but for seed and places, that two runs have otherwise; None where not at all."""
    keys = sorted(first.config.keys() | second.config.keys())
    pairs = {key: (first.config.get(key), second.config.get(key)) for key in keys}
    return {
        key: pair
        for key, pair in pairs.items()
        if pair[0] != pair[1] and not among(key, _OWN) and not isinstance(pair[0] or pair[1], dict)
    }


def format_differences(found: Sequence[Difference], names: tuple[str, str]) -> str:
    """Lay the differences out as a Markdown table.

    Args:
        found: of ``pair_runs``.
        names: of the two groups.
    """
    lines = [
        [one.dataset, _figure(one), spread(one.first), spread(one.second),
         _interval(one), "-" if one.p is None else f"{one.p:.3f}", len(one.seeds)]
        for one in found
    ]  # fmt: skip
    heads = ["dataset", "figure", *names, "difference, 95 %", "p", "pairs"]
    return tabulate(lines, headers=heads, tablefmt="github", disable_numparse=True)


def plain(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """What a file keeps of the differences."""
    return [asdict(one) for one in found]


def _by_seed(runs: Sequence[SeededRun]) -> dict[int, SeededRun]:
    seeded: dict[int, SeededRun] = {}
    for run in runs:
        if run.seed in seeded:
            raise UserError(
                f"{run.folder}: has SEED {run.seed}, as {seeded[run.seed].folder}; several runs of "
                "one config need a seed each"
            )
        if changed := differing_keys(runs[0], run):
            key, (kept, other) = next(iter(changed.items()))
            raise UserError(
                f"{run.folder}: has {key} {other}, not {kept} as {runs[0].folder}; the runs of a "
                "group may differ in SEED alone"
            )
        seeded[run.seed] = run
    return seeded


def _check_rules(runs: Sequence[SeededRun]) -> None:
    for run in runs[1:]:
        for place in run.rules.keys() & runs[0].rules.keys():
            if run.rules[place] != runs[0].rules[place]:
                raise UserError(
                    f"{run.folder}: {place[1]} on {place[0]} is measured by another rule than in "
                    f"{runs[0].folder} ({run.rules[place]}; {runs[0].rules[place]}); evaluate both "
                    "by one TEST.EVALUATOR"
                )


def _difference(key: Key, values: Sequence[Sequence[float]], seeds: Sequence[int]) -> Difference:
    first, second = values
    gains = [b - a for a, b in zip(first, second, strict=True)]
    half_width = p = None
    if len(gains) > 1:
        error = stdev(gains) / len(gains) ** 0.5
        half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(gains) - 1)) * error
        if error:
            p = float(stats.ttest_1samp(gains, 0.0).pvalue)
    return Difference(*key, first, second, seeds, fmean(gains), half_width, p)


def _figure(one: Difference) -> str:
    return f"{one.task}/{one.metric}" + (f" ({ORACLE})" if one.oracle else "")


def _interval(one: Difference) -> str:
    return f"{one.mean:+.2f}" + ("" if one.half_width is None else f" ± {one.half_width:.2f}")
