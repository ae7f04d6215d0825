"""The training mappers, on picture files written from the reference inputs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from detectron2.data import transforms as T
from PIL import Image

from maftplus.mappers import MaskPanopticMapper, large_scale_jitter
from ovs_core.data.segment_mapper import MaskSemanticMapper
from ovs_core.engine.config import get_ovs_cfg

from ..reference_labels import stored
from ..runner import ParityCase, parity_runner
from .mask2former import Results

DRAWN = {
    "ids": "the id map holds them",
    "vals": "the label map holds them",
    "id": "of a crowd segment, which trains nothing",
    "category_id": "of a crowd segment, which trains nothing",
}


def _write(folder: str, **arrays: np.ndarray) -> dict[str, str]:
    paths = {}
    for name, array in arrays.items():
        paths[name] = str(Path(folder) / f"{name}.png")
        Image.fromarray(array).save(paths[name])
    return paths


@parity_runner("fcclip", "mapper_panoptic_lsj", unused=DRAWN)
def run_panoptic_mapper(case: ParityCase) -> Results:
    """Map one record with large-scale jitter."""
    config, cfg = case.config, get_ovs_cfg()
    cfg.INPUT.IMAGE_SIZE = config["size"]
    cfg.INPUT.MIN_SCALE, cfg.INPUT.MAX_SCALE = config["min_scale"], config["max_scale"]
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    mapper = MaskPanopticMapper(True, augmentations=large_scale_jitter(cfg))
    with tempfile.TemporaryDirectory() as folder:
        paths = _write(folder, image=case.inputs["image"], segments=case.inputs["pan_rgb"])
        np.random.seed(config["np_seed"])
        mapped = mapper(
            {
                "file_name": paths["image"],
                "pan_seg_file_name": paths["segments"],
                "segments_info": config["segments_info"],
            }
        )
    instances = mapped["instances"]
    return {
        "image": mapped["image"],
        "gt_classes": instances.gt_classes,
        "gt_masks": instances.gt_masks.tensor,
        "gt_boxes": instances.gt_boxes.tensor,
    }


@parity_runner("maftplus", "mapper_semantic", unused=DRAWN)
def run_semantic_mapper(case: ParityCase) -> Results:
    """Map one record with short side and flip."""
    config = case.config
    mapper = MaskSemanticMapper(
        True,
        augmentations=[
            T.ResizeShortestEdge(config["short"], config["max"], "choice"),
            T.RandomFlip(),
        ],
        dataset_name="coco_stuff_171_train",
        size_divisibility=config["divis"],
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = _write(folder, image=case.inputs["image"], labels=case.inputs["sem_seg"])
        np.random.seed(config["np_seed"])
        mapped = mapper({"file_name": paths["image"], "sem_seg_file_name": paths["labels"]})
    instances = mapped["instances"]
    return {
        "image": mapped["image"],
        "sem_seg": stored(mapped["sem_seg"]),
        "gt_classes": instances.gt_classes,
        "gt_masks": instances.gt_masks.tensor,
    }
