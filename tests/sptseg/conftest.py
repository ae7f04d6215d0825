"""A small CLIP of random weights and a few pictures on which the real configs run."""

import json

import pytest

from ovs_core.engine.config import load_cfg
from ovs_core.methods.projects import config_dir
from tests.miniatures.stripes import write_stripes

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
    stem = f"stripes_{tmp_path.name}"
    return write_stripes(tmp_path / "world", stem), stem
