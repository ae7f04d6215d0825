import copy

import open_clip
import pytest
import torch

from ovs_core.clip import ImageEncoder, PositionRule, load_clip
from ovs_core.clip.attention import (
    merge_heads,
    project_qkv,
    project_values,
    self_block,
    value_block,
)
from ovs_core.errors import UserError


@pytest.fixture
def encoder(tiny_clip):
    return ImageEncoder(tiny_clip.visual)


def test_cls_equals_open_clip(tiny_clip, encoder):
    images = torch.randn(2, 3, 32, 32)
    tokens = encoder(images)
    torch.testing.assert_close(tokens.cls, tiny_clip.model.encode_image(images))
    assert tokens.patches.shape == (2, 16, 4, 4)


def test_any_size_and_taps(encoder):
    tokens = encoder(torch.randn(1, 3, 41, 77), taps=(0, 2))
    assert tokens.patches.shape == (1, 16, 5, 9)
    assert {i: t.shape for i, t in tokens.taps.items()} == {0: (1, 46, 32), 2: (1, 46, 32)}


def test_a_batch_equals_its_pictures(encoder):
    images = torch.randn(3, 3, 40, 48)
    together = encoder(images).patches
    for i in range(3):
        torch.testing.assert_close(together[i], encoder(images[i : i + 1]).patches[0])


def test_blocks_can_be_replaced_and_prompts_inserted(encoder):
    images = torch.randn(1, 3, 32, 32)
    seen = []

    def with_prompts(index, tokens, grid):
        seen.append((index, tokens.shape[1], grid))
        cls, patches = tokens[:, :1], tokens[:, -grid[0] * grid[1] :]
        return torch.cat([cls, torch.zeros(1, 2, 32), patches], dim=1)

    tokens = encoder(images, before=with_prompts, blocks={2: value_block})
    assert tokens.patches.shape == (1, 16, 4, 4)
    assert seen == [(0, 17, (4, 4)), (1, 19, (4, 4)), (2, 19, (4, 4))]


def test_value_block_is_identity_attention(tiny_clip):
    block = tiny_clip.visual.transformer.resblocks[0]
    x = torch.randn(2, 5, 32)
    _, _, values = project_qkv(block, x)
    torch.testing.assert_close(merge_heads(values), project_values(block, x))


def test_in_the_self_block_tokens_attend_to_those_that_are_like_them(tiny_clip):
    block = tiny_clip.visual.transformer.resblocks[0]
    alike = torch.randn(2, 1, 32).expand(2, 5, 32)
    torch.testing.assert_close(self_block(block, alike), value_block(block, alike))
    x = torch.randn(1, 6, 32)
    query, key, value = project_qkv(block, x)
    parts = [y @ y.mT / y.shape[-1] ** 0.5 for y in (query, key)]
    weights = (parts[0].softmax(dim=-1) + parts[1].softmax(dim=-1)) / 2
    attended = x + block.attn.out_proj(merge_heads(weights @ value))
    expected = attended + block.mlp(block.ln_2(attended))
    torch.testing.assert_close(self_block(block, x), expected)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    torch.testing.assert_close(self_block(block, x[:, order]), self_block(block, x)[:, order])


def test_gradient_checkpointing_gives_the_same_gradient(tiny_config):
    clip = load_clip(tiny_config, "random")
    clip.model.visual.requires_grad_(True)
    images = torch.randn(1, 3, 32, 32)
    gradients = []
    for enabled in (False, True):
        clip.visual.set_grad_checkpointing(enabled)
        clip.visual.zero_grad()
        ImageEncoder(clip.visual)(images).patches.square().sum().backward()
        gradients.append(clip.visual.conv1.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_positions_of_the_published_rules():
    table = torch.randn(1 + 16, 8)
    same = PositionRule()(table, (4, 4), (4, 4))
    assert same is table
    assert PositionRule(keep_same_count=True)(table, (4, 4), (2, 8)) is table
    by_size = PositionRule()(table, (4, 4), (6, 6))
    by_factor = PositionRule(offset=0.1)(table, (4, 4), (6, 6))
    assert by_size.shape == by_factor.shape == (37, 8)
    assert (by_size[1:] - by_factor[1:]).abs().max() > 1e-3
    assert torch.equal(by_size[0], table[0])


def test_an_encoder_is_a_view_of_the_tower(tiny_clip):
    model = torch.nn.Module()
    model.encoder = ImageEncoder(tiny_clip.visual)
    assert not model.state_dict()
    model.clip = tiny_clip
    twin = copy.deepcopy(model)
    assert twin.encoder.visual is twin.clip.visual is not tiny_clip.visual


def test_refusals(encoder):
    with pytest.raises(UserError, match="smaller than one 8 x 8 patch"):
        encoder(torch.randn(1, 3, 7, 30))
    with pytest.raises(UserError, match="tower has 3 blocks"):
        encoder.block_index(3)
    resnet = open_clip.create_model("RN50", pretrained=None)
    with pytest.raises(UserError, match="needs a ViT image tower"):
        ImageEncoder(resnet.visual)
