"""A small CLIP of random weights and a few pictures on which the real configs run."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ovs_core.engine.config import load_cfg
from ovs_core.projects import config_dir

NAMES = ["red", "green", "blue", "grey"]
CLIP = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 12, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def clip_file(tmp_path):
    path = tmp_path / "clip.json"
    path.write_text(json.dumps(CLIP))
    return path


@pytest.fixture
def small_cfg(clip_file, tmp_path, monkeypatch):
    """Load a config of the project, cut down: small CLIP, 32-pixel crops, no dropout."""
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))

    def load(name="vitb16", *options):
        small = [
            "MODEL.DEVICE", "cpu", "MODEL.CLIP.ARCHITECTURE", str(clip_file),
            "MODEL.CLIP.PRETRAINED", "random", "MODEL.SPTSEG.CROP", "32",
            "MODEL.SPTSEG.PROMPTS.TOKENS", "3", "MODEL.OVS.PROTOCOL.WINDOW", "32",
            "MODEL.OVS.PROTOCOL.STRIDE", "24", "MODEL.WEIGHTS", "",
            "MODEL.OVS.TEMPLATES", "['a photo of a {}']", "INPUT.MMSEG.CROP", "32",
            "INPUT.MMSEG.SCALE", "[160, 40]", "INPUT.MMSEG.SHORT_SIDE", "40",
            "OUTPUT_DIR", str(tmp_path / "run"), "DATALOADER.NUM_WORKERS", "0", "SEED", "1",
        ]  # fmt: skip
        return load_cfg(config_dir("sptseg") / f"{name}.yaml", [*small, *options])

    return load


@pytest.fixture
def world(tmp_path):
    """Write six pictures of stripes and a file that describes them as two sets."""
    folder = tmp_path / "world"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [120, 120, 120]])
    for index in range(6):
        rng = np.random.default_rng(index)
        labels = np.repeat(rng.permutation(4), 12)[:, None].repeat(44, axis=1).astype(np.uint8)
        image = colours[labels] + rng.normal(0, 10, (48, 44, 3))
        labels[:2] = 255
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"images/{index}.png")
        Image.fromarray(labels).save(folder / f"labels/{index}.png")
    entry = {"images": "images", "labels": "labels", "names": NAMES, "unseen": ["grey"]}
    stem = f"stripes_{tmp_path.name}"
    path = folder / "sets.yaml"
    path.write_text(yaml.safe_dump({f"{stem}_train": entry, f"{stem}_val": entry}))
    return Path(path), stem
