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
        about: one line for visitors: whether and where it was trained, and its CLIP.
        trained: False if the method learns and no weights for it are known.
        sees_photographs: whether its CLIP knows more than drawings.
    """

    name: str
    config: str
    weights: str = ""
    about: str = ""
    trained: bool = True
    sees_photographs: bool = False


def found_choices() -> list[Choice]:
    """List what runs without a download: a person's own trainings, what sees photographs, the rest.

    A config of another CLIP than the embedded ones is listed when that CLIP lies on this disk and,
    if the method learns, its checkpoint does too. Tables and ablations, which lie in folders of
    their own, are left out; what has to be trained first comes last.
    """
    found = []
    for name in list_configs():
        if name.count("/") > 1:
            continue
        cfg, choice = _found(name)
        is_ready = choice.trained and _has_clip(cfg)
        if labels_pixels(cfg) and (is_ready or not choice.sees_photographs):
            found.append(choice)
    return sorted(found, key=lambda c: (not c.trained, c.config == c.name, not c.sees_photographs))


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
    about = _about(cfg, str(weights or own_weights or cfg.MODEL.WEIGHTS), bool(ready))
    return Choice(name, name, weights, about, bool(ready), _sees_photographs(cfg))


def _found(name: str) -> tuple[CfgNode, Choice]:
    """Take a config of the suite, with the training in its ``OUTPUT_DIR`` if it has finished."""
    path, shipped = find_model(name)
    cfg = load_cfg(path)
    source, ready = name, cfg.MODEL.WEIGHTS or shipped or not learns(cfg)
    if learns(cfg) and (Path(cfg.OUTPUT_DIR) / "last_checkpoint").is_file():
        source = ready = cfg.OUTPUT_DIR
    own = source if source != name else str(cfg.MODEL.WEIGHTS or shipped)
    about = _about(cfg, own, bool(ready))
    return cfg, Choice(name, source, "", about, bool(ready), _sees_photographs(cfg))


def _about(cfg: CfgNode, weights: str, ready: bool) -> str:
    """What a visitor wants to know before picking a method."""
    if not learns(cfg):
        kind = "Needs no training"
    else:
        kind = f"Trained: {Path(weights).name or 'weights of the suite'}" if ready else "Untrained"
    clip = cfg.MODEL.CLIP
    if not _sees_photographs(cfg):
        return f"{kind}. Small CLIP of the suite: knows drawings, not photographs"
    return f"{kind}. CLIP {' '.join(filter(None, (clip.ARCHITECTURE, clip.PRETRAINED)))}"


def _sees_photographs(cfg: CfgNode) -> bool:
    return cfg.MODEL.CLIP.ARCHITECTURE not in EMBEDDED


def _has_clip(cfg: CfgNode) -> bool:
    clip = cfg.MODEL.CLIP
    return find_weights(clip.ARCHITECTURE, clip.PRETRAINED, clip.CACHE_DIR or None) is not None
