"""A tiny SAN on the embedded CLIP, built as its config builds it."""

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Instances

from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.methods.configs import find_config

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.OVS.OUTPUT", "scores", "MODEL.SIDE_ADAPTER.NUM_QUERIES", "6",
         "MODEL.SIDE_ADAPTER.IMAGE_SIZE", "64", "MODEL.SAN.TRAIN_NUM_POINTS", "64"]  # fmt: skip


def config(*options):
    return load_cfg(find_config("san/tiny"), [*SMALL, *options])


def build(*options, words=("house", "sky", "grass")):
    torch.manual_seed(0)
    model = build_segmenter(config(*options))
    model.set_vocabulary(list(words))
    return model


@pytest.fixture
def make():
    """The builder: ``make(KEY, VALUE, ...)``."""
    return build


@pytest.fixture
def picture():
    """(3, 50, 70) random picture; neither side is a multiple of 32."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 50, 70), np.uint8))


@pytest.fixture
def sample(picture):
    """The builder of a training sample: ``sample([class, ...])``."""

    def made(labels):
        size = tuple(picture.shape[-2:])
        masks = torch.rand(len(labels), *size, generator=torch.Generator().manual_seed(1)) > 0.5
        instances = Instances(size)
        instances.gt_classes = torch.tensor(labels, dtype=torch.int64)
        instances.gt_masks = BitMasks(masks)
        return {"image": picture, "instances": instances, "file_name": "a.jpg"}

    return made
