"""Which methods the page offers: those that need no download, or those that a person names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from ..clip.architectures import EMBEDDED
from ..clip.loading import find_weights
from ..engine.config import load_cfg
from ..errors import UserError
from ..methods.configs import find_model, list_configs
from ..reports.catalog import labels_pixels, learns


@dataclass(frozen=True)
class Choice:
    """A method that a visitor can pick.

    Attributes:
        name: shown on the page; the config's short name, or the file as it was given.
        config: what ``Predictor.from_config`` takes: the name, or the training that was found.
        weights: checkpoint of the method; empty for what the config says.
        about: one line from the head of the config file; may be empty.
        trained: False if the method learns and no weights for it are known.
    """

    name: str
    config: str
    weights: str = ""
    about: str = ""
    trained: bool = True


def found_choices() -> list[Choice]:
    """List what runs without a download, the embedded configs first, ready ones before untrained.

    A config of another CLIP is listed when that CLIP lies on this disk and, if the method learns,
    its checkpoint does too. Tables and ablations, which lie in folders of their own, are left out.
    """
    embedded, real = [], []
    for name in list_configs():
        if name.count("/") > 1:
            continue
        cfg, choice = _found(name)
        if not labels_pixels(cfg):
            continue
        if cfg.MODEL.CLIP.ARCHITECTURE in EMBEDDED:
            embedded.append(choice)
        elif choice.trained and _has_clip(cfg):
            real.append(choice)
    return sorted(embedded, key=lambda choice: not choice.trained) + real


def named_choices(methods: Sequence[str], weights: Sequence[str] = ()) -> list[Choice]:
    """Check the methods that a person names.

    Args:
        methods: short config names, YAML files, or output folders of trainings.
        weights: none, or one checkpoint per method in the same order.

    Raises:
        UserError: for an unknown or repeated config, a missing checkpoint, or counts that differ.
    """
    if weights and len(weights) != len(methods):
        raise UserError(
            f"{len(weights)} --weights for {len(methods)} --methods; give one for each, "
            "in the same order, or none"
        )
    for path in weights:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such checkpoint")
    repeated = {name for name in methods if list(methods).count(name) > 1}
    if repeated:
        raise UserError(f"--methods names {min(repeated)} more than once; name it once")
    files = weights or [""] * len(methods)
    return [_named(name, file) for name, file in zip(methods, files, strict=True)]


def _named(name: str, weights: str) -> Choice:
    path, own_weights = find_model(name)
    cfg = load_cfg(path)
    if not labels_pixels(cfg):
        raise UserError(f"--methods {name} finds boxes and labels no pixels; the page shows labels")
    ready = weights or own_weights or cfg.MODEL.WEIGHTS or not learns(cfg)
    return Choice(name, name, weights, _first_comment(path), bool(ready))


def _found(name: str) -> tuple[CfgNode, Choice]:
    """Take a config of the suite, with the training in its ``OUTPUT_DIR`` if it has finished."""
    path, shipped = find_model(name)
    cfg = load_cfg(path)
    source, ready = name, cfg.MODEL.WEIGHTS or shipped or not learns(cfg)
    if learns(cfg) and (Path(cfg.OUTPUT_DIR) / "last_checkpoint").is_file():
        source = ready = cfg.OUTPUT_DIR
    return cfg, Choice(name, source, about=_first_comment(path), trained=bool(ready))


def _first_comment(path: Path) -> str:
    """First sentence of the comment at the head of a config file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line.lstrip("# ").strip())
    return " ".join(head).partition(". ")[0].rstrip(".")


def _has_clip(cfg: CfgNode) -> bool:
    clip = cfg.MODEL.CLIP
    return find_weights(clip.ARCHITECTURE, clip.PRETRAINED, clip.CACHE_DIR or None) is not None
