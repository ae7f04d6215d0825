import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from ovs_core.clip import TextEmbedder, TextEncoder
from ovs_core.errors import UserError

TEMPLATES = ["a {}"]


def test_new_weights_need_a_new_identity_and_get_new_embeddings(tiny_clip, tmp_path):
    clip = copy.deepcopy(tiny_clip)
    embedder = TextEmbedder(TextEncoder(clip), folder=tmp_path)
    before, identity = embedder.texts(["cat"], TEMPLATES), clip.identity
    with torch.no_grad():
        clip.model.text_projection += 0.1
    clip.renew_identity("other.pt")
    assert clip.identity.pretrained == "other.pt"
    assert clip.identity.text_fingerprint != identity.text_fingerprint
    after = embedder.texts(["cat"], TEMPLATES)
    assert not torch.equal(after, before)
    assert torch.equal(after, TextEmbedder(TextEncoder(clip), folder="").texts(["cat"], TEMPLATES))
    with pytest.raises(UserError, match=r"a\.pth: was .*\(random\), .*\(other\.pt\)"):
        clip.identity.check(identity.record(), "a.pth")


def test_the_image_tower_does_not_count(tiny_clip):
    clip = copy.deepcopy(tiny_clip)
    with torch.no_grad():
        clip.model.visual.proj += 0.1
    clip.renew_identity("random")
    assert clip.identity == tiny_clip.identity
    clip.identity.check(tiny_clip.identity.record(), "a.pth")


def test_an_adapted_tower_is_known_by_what_it_starts_from(tiny_clip):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(2.0))

        def forward(self, weight):
            return weight * self.factor

    clip = copy.deepcopy(tiny_clip)
    for block in clip.model.transformer.resblocks:
        parametrize.register_parametrization(block.attn, "in_proj_weight", Twice())
    clip.renew_identity("random")
    assert clip.identity == tiny_clip.identity
