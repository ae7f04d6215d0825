"""What the suite offers, and whether the weights for it are on this disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from ..clip.architectures import EMBEDDED
from ..clip.loading import find_weights
from ..engine.config import load_cfg
from ..errors import UserError
from ..methods.configs import DEFAULT_CONFIGS, find_model, list_configs, list_methods
from ..modeling.segmenter import Segmenter

READY, TO_FETCH, TO_TRAIN = "ready", "CLIP is fetched on first use", "needs --weights"


@dataclass(frozen=True)
class Offer:
    """A config and what it needs.

    Attributes:
        name: short name of the config.
        kind: ``training-free``, ``trained``, or ``detector``, which labels no pixels.
        architecture: of the CLIP.
        pretrained: its weights, as the config names them; "" for those that the suite carries.
        has_clip: whether these are on this disk.
        state: what a person has to do before the first picture.
    """

    name: str
    kind: str
    architecture: str
    pretrained: str
    has_clip: bool
    state: str


def offers(names: Iterable[str] | None = None) -> list[Offer]:
    """Describe configs.

    Args:
        names: short names; default all of the suite.
    """
    return [_offer(name) for name in (list_configs() if names is None else names)]


def best_config() -> tuple[str, str]:
    """Choose a config for who names none: training-free, so that it takes any words.

    Returns:
        The short name of the first that is ready, of those of a real CLIP first; and why.

    Raises:
        UserError: if none is ready.
    """
    known = list_configs()
    for kind in DEFAULT_CONFIGS:
        for name in (f"{method}/{kind}" for method in list_methods()):
            offer = _offer(name) if name in known else None
            if offer is None or offer.kind != "training-free" or offer.state != READY:
                continue
            if offer.architecture in EMBEDDED:
                return name, "the embedded CLIP knows drawings only, but no real one is here"
            return name, f"its CLIP, {offer.architecture} {offer.pretrained}, is here"
    raise UserError("no method is ready; `ovsuite doctor` says what is missing")


def labels_pixels(cfg: CfgNode) -> bool:
    """Whether a config's model is a ``Segmenter``; a detector is none."""
    return issubclass(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), Segmenter)


def learns(cfg: CfgNode) -> bool:
    """Whether a config's model has weights of its own to train."""
    return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).trains


def _offer(name: str) -> Offer:
    config, shipped = find_model(name)
    cfg = load_cfg(config)
    clip = cfg.MODEL.CLIP
    has_clip = bool(find_weights(clip.ARCHITECTURE, clip.PRETRAINED, clip.CACHE_DIR or None))
    trained = learns(cfg)
    states = [TO_TRAIN] if trained and not (cfg.MODEL.WEIGHTS or shipped) else []
    states += [] if has_clip else [TO_FETCH]
    return Offer(
        name,
        ("trained" if trained else "training-free") if labels_pixels(cfg) else "detector",
        clip.ARCHITECTURE,
        clip.PRETRAINED,
        has_clip,
        "; ".join(states) or READY,
    )
