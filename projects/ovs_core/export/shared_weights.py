"""The weights of a training as one file to share, with a card that says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from tabulate import tabulate

from ..clip.architectures import EMBEDDED
from ..clip.identity import CARRIED
from ..clip.published import CLIP_LICENCES
from ..engine.config import load_cfg
from ..engine.config_files import read_config
from ..errors import UserError
from ..evaluation.results import versions
from ..files.json_files import parse_json
from ..files.writing import atomic_write
from ..methods.configs import find_config, find_model, list_configs
from ..modeling.checkpoint import check_content, read_checkpoint
from ..modeling.shared_file import FORMAT, write_shared

LICENCE = "Apache-2.0"
_PLACES = ("OUTPUT_DIR", "CONFIG_FILE")  # of the machine, not of the weights


def export_weights(
    run: str | Path,
    output: str | Path,
    *,
    checkpoint: str | Path = "",
    half: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the weights of a training as safetensors, and their card beside them.

    Args:
        run: output folder of the training.
        output: ends in ``.safetensors``; the card has its name and ends in ``.md``.
        checkpoint: of the run; default the newest.
        half: in half precision.
        overwrite: replace what is there.

    Returns:
        The card.

    Raises:
        UserError: if the folder holds no training, the checkpoint is damaged or not of this suite,
            or something is there already.
    """
    output = Path(output)
    card_file = output.with_suffix(".md")
    if output.suffix != ".safetensors":
        raise UserError(f"--output {output}: must end in .safetensors")
    for path in (output, card_file):
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists; give --overwrite to replace it, or another --output")
    if not Path(run).is_dir():
        raise UserError(f"{run}: no such folder; name the OUTPUT_DIR of a training")
    config, newest = find_model(run)
    weights = Path(checkpoint or newest)
    data = read_checkpoint(weights)
    if data.get("format") != FORMAT:
        raise UserError(f"{weights}: no checkpoint of this suite; share the file as it is")
    check_content(data, weights)
    data["clip"] = _without_folder(data["clip"])
    facts = _facts(load_cfg(config), data, Path(run), method=_short_name(config), half=half)
    write_shared(output, data, facts, half=half)
    atomic_write(card_file, _card(facts, output.name))
    return card_file


def _facts(
    cfg: CfgNode, data: Mapping[str, Any], run: Path, *, method: str, half: bool
) -> dict[str, Any]:
    """Collect what a reader of the file should know, as JSON takes it."""
    clip = data["clip"]
    return {
        "architecture": data["architecture"],
        "method": method,
        "iterations": data.get("iteration", -1) + 1,
        "parameters": sum(tensor.numel() for tensor in data["model"].values()),
        "precision": "float16" if half else "float32",
        "clip": dict(clip),
        "holds_clip": clip["pretrained"] == CARRIED,
        "trained_on": list(cfg.DATASETS.TRAIN),
        "seed": cfg.SEED,
        "evaluations": _evaluations(run),
        "chosen_on": data.get("chosen_on", []),
        "licence": LICENCE,
        "clip_licence": _clip_licence(cfg),
        "versions": versions(),
        "config": _config_text(cfg),
    }


def _without_folder(clip: Mapping[str, str]) -> dict[str, str]:
    """Name the file of a CLIP alone, not where it lies on this machine."""
    source = Path(clip["pretrained"])
    return {**clip, "pretrained": source.name if source.is_absolute() else clip["pretrained"]}


def _clip_licence(cfg: CfgNode) -> str:
    if cfg.MODEL.CLIP.ARCHITECTURE in EMBEDDED:
        return LICENCE
    return CLIP_LICENCES.get(cfg.MODEL.CLIP.PRETRAINED, "see where its weights were published")


def _short_name(config: Path) -> str:
    """Name of the suite's config that a run was begun with; "" for a file of one's own."""
    begun_with = Path(str(read_config(config).get("CONFIG_FILE", "")))
    for name in list_configs():
        if begun_with == find_config(name):
            return name
    return ""


def _config_text(cfg: CfgNode) -> str:
    shared = cfg.clone()
    shared.defrost()
    for key in _PLACES:
        shared[key] = ""
    return str(shared.dump())


def _evaluations(run: Path) -> list[dict[str, Any]]:
    """Read what the evaluations in the run's folder have found."""
    found = []
    for path in sorted(run.glob("inference/*/*_evaluation.json")):
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
            kept = ("task", "dataset", "rule", "pictures", "date", "figures")
            oracle = {"oracle": content["oracle"]} if content.get("oracle") else {}
            found.append({key: content[key] for key in kept} | oracle)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: no result of an evaluation; delete it or make it again"
            ) from error
    return found


def _card(facts: Mapping[str, Any], name: str) -> str:
    """Lay the facts out as Markdown."""
    clip = facts["clip"]
    rows = {
        "method": facts["method"] or "a config of its own, below",
        "trained on": ", ".join(facts["trained_on"]),
        "iterations": facts["iterations"],
        "chosen by figures on": ", ".join(facts["chosen_on"]) or "none",
        "seed": facts["seed"],
        "parameters in the file": f"{facts['parameters']:,}, {facts['precision']}",
        "CLIP": f"{clip['architecture']} ({clip['pretrained']})",
        "its text tower": clip["text_fingerprint"],
        "the CLIP is in the file": "yes" if facts["holds_clip"] else "no",
        "licence": facts["licence"],
        "licence of the CLIP": facts["clip_licence"],
        "made with": ", ".join(f"{key} {value}" for key, value in facts["versions"].items()),
    }
    table = tabulate(list(rows.items()), ["", ""], "pipe")
    method = facts["method"] or "config.yaml"
    use = (
        "The config below goes into config.yaml where none of the suite is named above.\n\n"
        f"    ovsuite segment photo.jpg --words words.txt --method {method} --weights {name}\n"
    )
    parts = [f"# {facts['architecture']}: {name}", table, use, *map(_figures, facts["evaluations"])]
    return "\n\n".join([*parts, f"## Config\n\n```yaml\n{facts['config']}```\n"])


def _figures(evaluation: Mapping[str, Any]) -> str:
    figures = {key: value for key, value in evaluation["figures"].items() if value is not None}
    rows = tabulate([list(figures.values())], list(figures), "pipe", floatfmt=".2f")
    oracle = "".join(f"; oracle: {why}" for why in evaluation.get("oracle", ()))
    return (
        f"## {evaluation['task']} on {evaluation['dataset']}\n\n{evaluation['pictures']} pictures, "
        f"{evaluation['date']}; {evaluation['rule']}{oracle}\n\n{rows}"
    )
