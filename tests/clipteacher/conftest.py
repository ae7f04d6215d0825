"""The tiny config on the embedded CLIP, and random samples for it."""

import pytest
import torch
from detectron2.modeling import build_model

from ovs_core.engine.config import load_cfg
from ovs_core.methods.projects import config_dir
from ovs_core.words.label_space import IGNORE

WORDS = ["cat", "dog", "sky", "grass"]


@pytest.fixture
def tiny_cfg():
    def load(*options, name="tiny"):
        small = ["MODEL.DEVICE", "cpu", "MODEL.CLIPTEACHER.STUDENT.HEAD_WIDTH", "16"]
        return load_cfg(config_dir("clipteacher") / f"{name}.yaml", [*small, *options])

    return load


@pytest.fixture
def tiny_model(tiny_cfg):
    def build(*options):
        torch.manual_seed(0)
        model = build_model(tiny_cfg(*options))
        model.set_vocabulary(WORDS, unseen=[3])
        return model

    return build


@pytest.fixture
def samples():
    def make(count=2, size=(64, 64), seed=0):
        draw = torch.Generator().manual_seed(seed)
        made = []
        for _ in range(count):
            image = torch.randint(0, 256, (3, *size), generator=draw, dtype=torch.uint8)
            labels = torch.randint(0, 3, (size[0] // 16, size[1] // 16), generator=draw)
            labels = labels.repeat_interleave(16, 0).repeat_interleave(16, 1)
            labels[:, : size[1] // 2] = IGNORE
            made.append({"image": image, "sem_seg": labels})
        return made

    return make
