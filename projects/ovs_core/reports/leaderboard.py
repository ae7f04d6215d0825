"""Running a leaderboard: every entrant on every test set that is there, by one rule.

What was measured is kept, one file per entrant and test set, and is not measured again while
config, versions and number of pictures are the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ..data.build import dataset_dicts
from ..engine.config import load_cfg
from ..engine.train_loader import seed_everything
from ..engine.trainer import Trainer
from ..errors import UserError
from ..evaluation.contract import figures_of
from ..evaluation.oracle import ORACLE
from ..evaluation.results import versions
from ..files.digests import digest
from ..files.json_files import parse_json
from ..files.locks import hold_folder
from ..files.writing import write_json
from ..methods.configs import find_config
from ..modeling.segmenter import Segmenter, output_size
from .benchmark import benchmark
from .boards import Board, Entrant, TestSet
from .subjects import build_as, give_words

RULES = ("mIoU", "mIoU_union")
ROUNDS = 5
# Where the rule stands: two entrants whose configs differ here are not measured alike.
SHARED_KEYS = ("INPUT", "DATASETS", "TEST", "MODEL.CLIP", "MODEL.OVS", "MODEL.DEVICE")


@dataclass(frozen=True)
class Reached:
    """What an entrant reached on a test set.

    Attributes:
        figures: metric -> value, of the evaluation.
        time: seconds of a picture over those of CLIP's image tower alone on what it is shown.
        memory: MiB in use at the worst moment of a picture, above what was in use before.
    """

    figures: dict[str, float]
    time: float
    memory: float

    @property
    def oracle(self) -> bool:
        """Whether the figures know the truth."""
        return ORACLE in self.figures


@dataclass(frozen=True)
class Standing:
    """What became of an entrant.

    Attributes:
        entrant: who.
        sets: name of a test set -> what was measured.
        not_run: name of a test set that is there -> why there is nothing.
    """

    entrant: Entrant
    sets: dict[str, Reached] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)


def run_board(
    board: Board,
    output: Path,
    *,
    only: Sequence[str] = (),
    samples: int | None = None,
    options: Sequence[str] = (),
) -> tuple[list[Standing], dict[str, str]]:
    """Measure the entrants of a board; prints a line for each on each test set.

    Args:
        board: what is measured.
        output: folder of this board; ``ENTRANT/SET/row.json`` below it keeps what was measured.
        only: names of entrants; none for all.
        samples: the first pictures of each set alone; None for all.
        options: KEY VALUE overrides of all.

    Returns:
        The entrants in their order, and the sets that are not there: name -> why.

    Raises:
        UserError: before anything is measured, for a wrong name or option, or if the configs of two
            entrants state different rules.
    """
    entrants = board.choose(only)
    missing = {data.name: why for data in board.sets if (why := _why_missing(data))}
    sets = [data for data in board.sets if data.name not in missing]
    checked = sets or board.sets[:1]  # a wrong option is said even where no data is
    configs = {
        (entrant.name, data.name): _config(entrant, data, output, options)
        for data in checked
        for entrant in entrants
    }
    for data in checked:
        _check_one_rule({e.name: configs[e.name, data.name] for e in entrants})
    standings = [Standing(entrant) for entrant in entrants]
    with hold_folder(output, "a leaderboard"):
        for standing in standings:
            for data in sets:
                _enter(standing, data, configs[standing.entrant.name, data.name], samples)
    return standings, missing


def _enter(standing: Standing, data: TestSet, cfg: CfgNode, samples: int | None) -> None:
    """Measure an entrant on a set, or take what was measured before."""
    file = Path(cfg.OUTPUT_DIR) / "row.json"
    key = _key(cfg, samples)
    kept = _kept(file, key)
    try:
        found = kept or _measure(cfg, samples)
    except UserError as error:
        standing.not_run[data.name] = str(error).splitlines()[0]
        print(f"{standing.entrant.name} on {data.name}: not run: {error}", flush=True)
        return
    if kept is None:
        write_json(file, {"key": key, **asdict(found)})
    standing.sets[data.name] = found
    told = ", ".join(f"{rule} {found.figures[rule]:.2f}" for rule in RULES)
    cost = f"{found.time:.2f} x the bare tower, {found.memory:.0f} MiB"
    told += f" ({ORACLE})" if found.oracle else ""
    print(f"{standing.entrant.name} on {data.name}: {told}, {cost}{' (kept)' if kept else ''}",
          flush=True)  # fmt: skip


def _measure(cfg: CfgNode, samples: int | None) -> Reached:
    seed_everything(cfg.SEED)
    model = build_as(cfg, Segmenter)
    give_words(cfg, model, None)
    (name,) = cfg.DATASETS.TEST
    pictures: Any = Trainer.build_test_loader(cfg, name)
    if samples is not None:
        pictures = list(islice(pictures, samples))
    figures = figures_of(Trainer.measure(cfg, model, name, pictures))
    first = next(iter(pictures))[0]
    cost = benchmark(
        model, first["image"], output_size(first), repeats=ROUNDS,
        floor=lambda images: Segmenter.bare_forward(model, images),  # CLIP's, and no other network
    )  # fmt: skip
    kept = {metric: value for metric, value in figures.items() if "-" not in metric}  # no classes
    return Reached(kept, cost["ratio_to_bare_clip"], cost["peak_memory_mib"])


def _config(entrant: Entrant, data: TestSet, output: Path, options: Sequence[str]) -> CfgNode:
    folder = ["OUTPUT_DIR", str(output / entrant.name / data.name)]
    return load_cfg(find_config(entrant.config), [*entrant.options_on(data), *options, *folder])


def _check_one_rule(configs: dict[str, CfgNode]) -> None:
    stated = {name: _shared(cfg) for name, cfg in configs.items()}
    first = next(iter(stated), "")
    for name, keys in stated.items():
        for key in SHARED_KEYS:
            if keys[key] != stated[first][key]:
                raise UserError(
                    f"{name} and {first} are not measured by one rule: their configs differ in "
                    f"{key}; state the same there"
                )


def _shared(cfg: CfgNode) -> dict[str, str]:
    found = {}
    for key in SHARED_KEYS:
        node: Any = cfg
        for part in key.split("."):
            node = node[part]
        found[key] = str(node)
    return found


def _why_missing(data: TestSet) -> str:
    try:
        dataset_dicts([data.dataset])
    except UserError as error:
        return str(error).partition(". ")[0].splitlines()[0]
    return ""


def _key(cfg: CfgNode, samples: int | None) -> str:
    """What a measurement depends on: all of the config but where things lie, and the versions."""
    other = cfg.clone()
    other.defrost()
    other.OUTPUT_DIR = other.CONFIG_FILE = ""
    return digest(json.dumps([other.dump(), samples, versions()]))


def _kept(file: Path, key: str) -> Reached | None:
    """What was measured before with the same key; a damaged file counts as none."""
    try:
        row = parse_json(file.read_text(encoding="utf-8"))
        found = Reached(row["figures"], row["time"], row["memory"]) if row["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found
