"""Configs, training, evaluation, checkpoints, launching."""

from .config import add_ovs_config, get_ovs_cfg, load_cfg
from .run import build_segmenter, run
from .trainer import Trainer

__all__ = ["Trainer", "add_ovs_config", "build_segmenter", "get_ovs_cfg", "load_cfg", "run"]
