"""The training mapper, on picture files written from the reference inputs."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ovs_core.data.build import build_mapper
from ovs_core.engine.config import load_cfg
from ovs_core.methods.configs import find_config

from ..reference_labels import stored
from ..runner import ParityCase, parity_runner
from .repeated import REPEATED


@parity_runner("san", "mapper_semantic", unused=REPEATED)
def run_semantic_mapper(case: ParityCase) -> dict[str, object]:
    """Map one record as the published config does, at the file's sizes."""
    config, cfg = case.config, load_cfg(find_config("san/vitb16"))
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = config["short"], config["max"]
    cfg.INPUT.CROP.SIZE = config["crop"]
    cfg.INPUT.COLOR_AUG_SSD = config["color"]
    cfg.INPUT.SIZE_DIVISIBILITY = config["divis"]
    mapper = build_mapper(cfg, is_train=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / f"{name}.png") for name in ("image", "sem_seg")}
        for name, path in paths.items():
            Image.fromarray(case.inputs[name]).save(path)
        np.random.seed(config["np_seed"])
        random.seed(config["py_seed"])
        mapped = mapper({"file_name": paths["image"], "sem_seg_file_name": paths["sem_seg"]})
    instances = mapped["instances"]
    return {
        "image": mapped["image"],
        "sem_seg": stored(mapped["sem_seg"]),
        "gt_classes": instances.gt_classes,
        "gt_masks": instances.gt_masks.tensor,
    }
