"""A method of a few lines and a dataset of a few pictures, for tests of the engine.

Also a script, so that a test can start and kill it:
``python toy.py FOLDER [--resume] [KEY VALUE ...]``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.per_picture import Dropout
from ovs_core.modeling.segmenter import Segmenter
from ovs_core.words.label_space import IGNORE

CLASSES = ["red", "green", "blue"]
CLIP = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 24, "heads": 3, "layers": 1},
}


@META_ARCH_REGISTRY.register()
class Toy(Segmenter):
    """Frozen patch tokens, a trained layer with dropout, and the words as classifier."""

    @configurable
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.image_encoder = ImageEncoder(self.clip.visual)  # a view: its weights are the CLIP's
        self.head = nn.Sequential(nn.LayerNorm(16), Dropout(0.2), nn.Linear(16, 16))
        self.to(self.device)

    @classmethod
    def from_config(cls, cfg):
        return segmenter_arguments(cfg)

    def encode(self, images):
        return self.image_encoder(images).patches

    def score(self, features):
        features = self.head(features.movedim(1, -1))
        return torch.einsum("bhwd,kd->bkhw", features, self.text_features()) * 10

    def losses(self, batched_inputs):
        images = torch.stack([self.normalize(one["image"]) for one in batched_inputs])
        truth = torch.stack([one["sem_seg"] for one in batched_inputs])
        logits = F.interpolate(self.score(self.encode(images)), truth.shape[-2:], mode="bilinear")
        pixels = F.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="none")
        # Of each picture, so that it does not matter how they are split over processes.
        means = pixels.sum(dim=(1, 2)) / (truth != IGNORE).sum(dim=(1, 2)).clamp(min=1)
        return {"loss_sem_seg": means.mean()}


def write_world(folder: Path, count: int = 8) -> None:
    """Write pictures of three coloured stripes with their labels, and the CLIP's configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clip.json").write_text(json.dumps(CLIP))
    for index in range(count):
        rng = np.random.default_rng(index)
        labels = np.repeat(rng.permutation(3), 16)[:, None].repeat(40, axis=1).astype(np.uint8)
        image = np.eye(3)[labels] * 180 + rng.normal(40, 10, (48, 40, 3))
        labels[0] = 255
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
        Image.fromarray(labels).save(folder / f"{index}_labels.png")


def register_world(folder: Path) -> None:
    """Register the pictures as ``toy_train`` and ``toy_val``."""
    if "toy_train" in DatasetCatalog.list():
        DatasetCatalog.remove("toy_train"), DatasetCatalog.remove("toy_val")
        MetadataCatalog.remove("toy_train"), MetadataCatalog.remove("toy_val")
    records = [
        {
            "file_name": str(folder / f"{i}.png"),
            "sem_seg_file_name": str(folder / f"{i}_labels.png"),
            "image_id": i,
            "height": 48,
            "width": 40,
        }
        for i in range(len(list(folder.glob("*_labels.png"))))
    ]
    for split in ("train", "val"):
        DatasetCatalog.register(f"toy_{split}", lambda: [dict(r) for r in records])
        MetadataCatalog.get(f"toy_{split}").set(
            stuff_classes=CLASSES,
            ignore_label=255,
            evaluator_type="sem_seg",
            seen_classes=[0, 1],
            unseen_classes=[2],
        )


def write_config(folder: Path, output: Path, iterations: int = 12) -> Path:
    """Write the config of a training run."""
    path = folder / "toy.yaml"
    path.write_text(f"""VERSION: 2
MODEL:
  META_ARCHITECTURE: Toy
  DEVICE: cpu
  CLIP: {{ARCHITECTURE: {folder / "clip.json"}, PRETRAINED: random}}
  OVS: {{TEMPLATES: ["a photo of a {{}}."]}}
DATASETS: {{TRAIN: [toy_train], TEST: [toy_val]}}
DATALOADER: {{NUM_WORKERS: 0}}
INPUT:
  MIN_SIZE_TRAIN: [40, 48, 56]
  MIN_SIZE_TEST: 48
  CROP: {{ENABLED: True, TYPE: absolute, SIZE: [40, 40]}}
  SIZE_DIVISIBILITY: 40
SOLVER:
  BASE_LR: 0.01
  IMS_PER_BATCH: 4
  MAX_ITER: {iterations}
  CHECKPOINT_PERIOD: 2
  WARMUP_ITERS: 3
  STEPS: []
  LR_SCHEDULER_NAME: WarmupCosineLR
TEST: {{EVAL_PERIOD: 0}}
OUTPUT_DIR: {output}
""")
    return path


if __name__ == "__main__":
    from ovs_core.engine.run import run

    world = Path(sys.argv[1])
    register_world(world)
    rest = sys.argv[2:]
    resume = "--resume" in rest
    run(str(world / "toy.yaml"), [o for o in rest if o != "--resume"], resume=resume)
