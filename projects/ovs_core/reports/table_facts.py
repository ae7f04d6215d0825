"""How the rows of a table were measured: config, seeds, protocol, metric rule, versions."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from tabulate import tabulate

from ..engine.changes import PLACES, among
from ..engine.config import dotted_keys
from ..errors import UserError
from ..evaluation.results import versions
from ..files.digests import digest
from ..files.json_files import parse_json

DIGITS = 12  # of a digest that is shown
NONE = "–"
# What the runs of a row may differ in: where they lie, and what a training is begun with.
_OWN = (*PLACES, "SEED", "MODEL.WEIGHTS")


@dataclass(frozen=True)
class Made:
    """How a row was measured.

    Attributes:
        config: short name or file.
        digest: of all its values but places, seed and weights: rows of one digest were measured
            alike.
        seeds: of its runs.
        dataset: registered name.
        protocol: how pictures are shown to the network.
        rules: how figures are defined, a line per task.
    """

    config: str
    digest: str
    seeds: tuple[int, ...]
    dataset: str
    protocol: str
    rules: tuple[str, ...]


def how_made(config: str, cfg: CfgNode, seeds: Sequence[int] = ()) -> Made:
    """Say how the runs of a row were measured.

    Args:
        config: short name or file.
        cfg: of the first run, whose ``OUTPUT_DIR`` has the results.
        seeds: that it was trained with; none for the config's own.
    """
    (dataset,) = cfg.DATASETS.TEST
    folder = Path(cfg.OUTPUT_DIR) / "inference" / dataset
    found = [_read(path) for path in sorted(folder.glob("*_evaluation.json"))]
    protocols = dict.fromkeys(one.get("protocol", "") for one in found)
    return Made(
        config=config,
        digest=config_digest(cfg),
        seeds=tuple(seeds) or (cfg.SEED,),
        dataset=dataset,
        protocol="; ".join(filter(None, protocols)),
        rules=tuple(dict.fromkeys(one["rule"] for one in found)),
    )


def config_digest(cfg: CfgNode) -> str:
    """Hash all values of a config but places, seed and weights."""
    kept = {
        key: value
        for key, value in dotted_keys(cfg)
        if not (isinstance(value, Mapping) or among(key, _OWN))
    }
    return digest(repr(sorted(kept.items(), key=lambda item: item[0])))[:DIGITS]


def facts_table(made: Mapping[str, Made | None]) -> str:
    """Lay out how rows were measured, in Markdown.

    Args:
        made: title of a row -> how; None where it was not.
    """
    rows = [
        [title, one.config, one.digest, ", ".join(map(str, one.seeds)), one.dataset,
         one.protocol or NONE, "; ".join(one.rules) or NONE]
        for title, one in made.items()
        if one is not None
    ]  # fmt: skip
    head = ("row", "config", "digest", "seeds", "dataset", "protocol", "metric rule")
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    table = tabulate(
        [[str(cell).replace("|", "\\|") for cell in row] for row in rows],
        headers=head, tablefmt="github", disable_numparse=True,
    )  # fmt: skip
    return f"How it was measured ({used}; {today}):\n\n{table}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return {"rule": str(content["rule"]), "protocol": str(content.get("protocol", ""))}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no evaluation of this suite ({error!r})") from error
