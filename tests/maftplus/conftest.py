"""A tiny segmenter with recorded-looking texts, for tests that need no reference file."""

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Instances

from ovs_core.clip import TextEmbedder
from parity.maftplus.tiny_models import TEMPLATES, RecordedTexts, tiny_segmenter, vocabulary

CONFIG = {
    "clip": {
        "kind": "convnext", "depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32], "embed": 16,
        "proj": "mlp",
    },
    "head": {
        "heads": 4, "ffn_enc": 32, "enc_layers": 1, "conv_dim": 32, "mask_dim": 32, "hidden": 32,
        "ffn_dec": 32, "dec_layers": 3, "queries": 5,
    },
    "cdt_heads": 4, "obj_thr": 0.0, "ov_thr": 0.0, "panoptic": True, "instance": True,
    "points": 32, "topk": 10, "train_names": ["dog,puppy", "sky", "cat"], "train_things": [0, 2],
    "alpha": 0.4, "beta": 0.8, "valid": False,
}  # fmt: skip


class AnyTexts(RecordedTexts):
    """Gives every prompt a vector of its own, the same in every run."""

    def __init__(self, clip, dim):
        super().__init__(clip, {})
        self.dim = dim

    def encode(self, prompts, *, batch_size=256, progress=True):
        rows = []
        for prompt in prompts:
            generator = torch.Generator().manual_seed(sum(map(ord, prompt)))
            rows.append(
                torch.nn.functional.normalize(torch.randn(self.dim, generator=generator), dim=0)
            )
        return torch.stack(rows)


def build(method, **changes):
    torch.manual_seed(0)
    config = {**CONFIG, **changes}
    model = tiny_segmenter(method, config, {})
    model.text_embedder = TextEmbedder(AnyTexts(model.clip, config["clip"]["embed"]), folder="")
    return model


@pytest.fixture
def make():
    """The builder: ``make("fcclip" | "maftplus", **config changes)``."""
    return build


@pytest.fixture
def picture():
    """(3, 96, 130) random picture; its width is no multiple of 32."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 96, 130), np.uint8))


def training_sample(picture, labels, masks=None):
    """A record as the mappers make it."""
    size = tuple(picture.shape[-2:])
    if masks is None:
        masks = torch.rand(len(labels), *size, generator=torch.Generator().manual_seed(1)) > 0.5
    instances = Instances(size)
    instances.gt_classes = torch.tensor(labels, dtype=torch.int64)
    instances.gt_masks = BitMasks(masks)
    return {"image": picture, "instances": instances, "file_name": "a.jpg"}


__all__ = ["TEMPLATES", "training_sample", "vocabulary"]
