"""Towers of other families than OpenAI's are read as open_clip and timm run them."""

import pytest
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import ResPostBlock, VisionTransformer

from ovs_core.clip import ImageEncoder
from ovs_core.clip.attention import finish_block, merge_heads, project_qkv, project_values
from ovs_core.errors import UserError
from tests.miniatures.towers import FAMILIES, family_clip

READ = [name for name in FAMILIES if name not in ("CoCa", "ConvNeXt", "ResNet")]
CLS = ["OpenAI, MetaCLIP, DFN", "LAION, DataComp; L/14, H/14", "EVA-01", "EVA-02", "EVA-02 E"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {family: family_clip(family, folder) for family in FAMILIES}


def read(clip):
    return ImageEncoder(clip.visual, accepts="any")


@pytest.mark.parametrize("family", READ)
def test_the_pictures_feature_is_that_of_open_clip(clips, family):
    clip = clips[family]
    side = 28 if "H/14" in family else 32
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        found, expected = read(clip)(images), clip.model.encode_image(images)
    assert found.cls.shape == expected.shape == (2, clip.embed_dim)
    torch.testing.assert_close(found.cls, expected, atol=1e-5, rtol=1e-5)
    assert found.patches.shape == (2, clip.embed_dim, 4, 4)


@pytest.mark.parametrize("family", READ)
def test_a_block_is_the_sum_of_its_parts(clips, family):
    """Queries, keys and values put together again give the block's own output, on any grid."""
    encoder = read(clips[family])
    size = encoder.patch_size[0]
    with torch.no_grad():
        tokens, grid = encoder.embed(torch.randn(2, 3, 3 * size + 1, 6 * size))
        assert grid == (3, 6) and tokens.shape[1] == 18 + encoder.has_cls
        for block in encoder.tower.blocks(grid):
            q, k, v = project_qkv(block, tokens)
            weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
            whole = block(tokens)
            again = finish_block(block, tokens, merge_heads(weights @ v))
            torch.testing.assert_close(again, whole, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(project_values(block, tokens), merge_heads(v))
            tokens = whole


@pytest.mark.parametrize("family", ["EVA-02", "PE-Core", "PE-Core G"])
def test_rotary_positions_of_another_grid_are_those_of_timm(clips, family):
    clip = clips[family]
    encoder, trunk = read(clip), clip.visual.trunk
    own = trunk.rope.get_embed()
    assert torch.equal(encoder.tower.blocks((4, 4))[0]._rope, own)
    other = encoder.tower.blocks((3, 6))[0]._rope
    trunk.rope.update_feat_shape([3, 6])
    torch.testing.assert_close(other, trunk.rope.get_embed())
    trunk.rope.update_feat_shape([4, 4])


@pytest.mark.parametrize("family", ["SigLIP, SigLIP2", "PE-Core", "PE-Core G"])
def test_a_token_is_pooled_as_if_there_were_no_other(clips, family):
    encoder = read(clips[family])
    tokens = torch.randn(1, 5, encoder.width)
    with torch.no_grad():
        alone = torch.stack([encoder.tower.picture(tokens[:, i : i + 1]) for i in range(5)], 1)
        torch.testing.assert_close(encoder.project(tokens), alone, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_read_is_refused_in_a_line(clips):
    messages = {
        "CoCa": "pools by attention",
        "ConvNeXt": "its tower is timm's ConvNeXt, no ViT",
        "ResNet": "needs a ViT image tower, but the CLIP has a ModifiedResNet",
    }
    for family, message in messages.items():
        with pytest.raises(UserError, match=message) as caught:
            read(clips[family])
        assert "choose another MODEL.CLIP.ARCHITECTURE" in str(caught.value)
        assert "\n" not in str(caught.value)
    for family in READ:
        visual = clips[family].visual
        if family in CLS:
            assert ImageEncoder(visual, accepts="cls").has_cls
        else:
            with pytest.raises(UserError, match="CLS token, but this one pools by (map|avg)"):
                ImageEncoder(visual, accepts="cls")
        if "timm" in type(visual).__module__:
            with pytest.raises(UserError, match="needs open_clip's own ViT.* timm's (Eva|Vision)"):
                ImageEncoder(visual)


def test_registers_and_other_kinds_of_blocks_are_refused(clips):
    visual = clips["EVA-01"].visual
    kept = visual.trunk
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 4}
    cases = {
        "it has registers": Eva(**small, num_reg_tokens=2, global_pool="token"),
        "rotary positions are a RotaryEmbeddingDinoV3": Eva(
            **small, global_pool="token", use_rot_pos_emb=True, rope_type="dinov3"
        ),
        "custom type": VisionTransformer(**small, block_fn=ResPostBlock),
    }
    try:
        for message, trunk in cases.items():
            visual.trunk = trunk
            with pytest.raises(UserError, match=message):
                ImageEncoder(visual, accepts="any")
    finally:
        visual.trunk = kept
