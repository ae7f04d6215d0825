import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder, load_clip
from ovs_core.clip.attention import value_block
from ovs_core.modeling.segmenter import Segmenter
from ovs_core.predict.predictor import Predictor


class PatchWords(Segmenter):
    """Unit patch tokens of the value-only last block against the words."""

    def encode(self, images):
        encoder = ImageEncoder(self.clip.visual)
        last = encoder.num_blocks - 1
        return F.normalize(encoder(images, blocks={last: value_block}).patches, dim=1)

    def score(self, features):
        return torch.einsum("kd,bdhw->bkhw", self.text_features(), features)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVSUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        clip = load_clip("embedded-vit", "random")
        yield PatchWords(clip=clip, templates=["a photo of a {}"])


@pytest.fixture
def predictor(random_model):
    """A quick one of its own, with the weights of all others."""
    return Predictor(copy.deepcopy(random_model), config="first")


@pytest.fixture
def pictures(tmp_path):
    """A folder of six pictures, a.png .. f.png."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "abcdef":
        blobs = Image.fromarray(rng.integers(0, 255, (4, 6, 3), dtype=np.uint8))
        blobs.resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder
