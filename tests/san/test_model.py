"""The method's invariants, what is trained, options, and what is refused."""

import pytest
import torch
from torch.nn import functional as F

from ovs_core.errors import UserError
from ovs_core.modeling.scores import size_of
from san.recognition import HIDDEN, biased_mask
from san.side_adapter import AdapterViT

BIAS = "MODEL.SIDE_ADAPTER.ATTN_BIAS."


@torch.no_grad()
def scores(model, picture, size=(40, 60)):
    return model([{"image": picture, "height": size[0], "width": size[1]}])[0]["sem_seg"]


def test_the_order_of_words_does_not_matter(make, picture):
    words = ["house", "sky", "grass", "cup"]
    forward = scores(make(words=words), picture)
    backward = scores(make(words=words[::-1]), picture)
    torch.testing.assert_close(forward, backward.flip(0), atol=1e-5, rtol=1e-4)


def test_the_order_of_queries_does_not_matter(make, picture):
    model = make()
    before = scores(model, picture)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    adapter = model.side_adapter
    with torch.no_grad():
        for table in (adapter.query_embed, adapter.query_pos_embed):
            table.copy_(table[:, order])
    torch.testing.assert_close(scores(model, picture), before, atol=1e-5, rtol=1e-4)


def test_without_a_bias_all_masks_look_alike(make, picture):
    model = make()
    with torch.no_grad():
        model.side_adapter.mask_decoder.bias_scaling.weight.zero_()
        model.side_adapter.mask_decoder.bias_scaling.bias.zero_()
        vectors = model.encode_picture(picture).vectors
    torch.testing.assert_close(vectors, vectors[:, :1].expand_as(vectors), atol=1e-5, rtol=1e-4)


def test_masks_do_not_change_what_clip_makes_of_the_picture():
    mask = biased_mask(torch.randn(2, 3, 4, 6))
    assert mask.shape == (2, 3, 11, 11)
    assert (mask[:, :, 4:, :4] == HIDDEN).all() and (mask[:, :, 4:, 4:] == 0).all()
    assert (mask[:, :, :4, 4] == HIDDEN).all()
    own = mask[:, :, :4, :4]
    assert (own.diagonal(dim1=-2, dim2=-1) == 0).all() and (own == HIDDEN).sum() == 2 * 3 * 12


def test_recognition_apart_gives_the_same_numbers(make, picture):
    together, apart = make(), make("MODEL.SAN.REC_CROSS_ATTN", "True")
    apart.load_state_dict(together.state_dict())
    with torch.no_grad():
        one, other = (m.encode_picture(picture).vectors for m in (together, apart))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_last_layer_of_the_bias_branch_may_act_on_queries(make, picture):
    """What is computed equals the plain order: maps first, then their products with queries."""
    decoder = make().side_adapter.mask_decoder
    queries, pixels = torch.randn(2, 6, 96), torch.randn(2, 96, 4, 5)
    with torch.no_grad():
        _, (bias,) = decoder(queries, pixels)
        maps = decoder.attn_mlp(pixels).unflatten(1, (decoder.bias_heads, decoder.channels))
        plain = torch.einsum("bqc,bachw->baqhw", decoder.query_mlp(queries), maps)
        plain = decoder.bias_scaling(plain[..., None])[..., 0]
    torch.testing.assert_close(bias, plain, atol=1e-5, rtol=1e-4)


def test_clip_sees_a_picture_smaller_by_a_factor(make):
    model = make("MODEL.SAN.CLIP_RESOLUTION", "0.7")
    images = torch.randn(1, 3, 96, 1440)
    shown = model.clip_input(images)
    assert size_of(shown) == (67, 1007)
    to_size = F.interpolate(images, (67, 1007), mode="bilinear", align_corners=False)
    assert not torch.allclose(shown, to_size, atol=1e-3)
    model = make("MODEL.SAN.CLIP_RESOLUTION", "0.7", "MODEL.SAN.ASYMETRIC_INPUT", "False")
    assert model.clip_input(images) is images


def test_positions_are_fitted_wherever_the_shape_differs():
    vit = AdapterViT(width=12, heads=2, depth=1, patch=8, image_size=64)
    assert vit.positions((8, 8)) is vit.pos_embed
    assert vit.positions((4, 16)).shape == (1, 64, 12)  # as many, and not the same
    assert not torch.equal(vit.positions((4, 16)), vit.pos_embed)


@pytest.mark.parametrize(
    "options",
    [
        ("MODEL.SAN.SOS_TOKEN_FORMAT", "pos_embedding"),
        ("MODEL.SAN.REC_DOWNSAMPLE_METHOD", "bicubic", f"{BIAS}NUM_HEADS", "1"),
        ("MODEL.SAN.REC_DOWNSAMPLE_METHOD", "avg", f"{BIAS}NUM_LAYERS", "2"),
        (f"{BIAS}RESCALE_ATTN_BIAS", "False", f"{BIAS}MLP_NUM_LAYERS", "1"),
        ("MODEL.SIDE_ADAPTER.DROP_PATH_RATE", "0.3", "MODEL.SIDE_ADAPTER.FUSION_MAP", "[]"),
    ],
)
def test_options_train(make, sample, options):
    model = make(*options).train()
    losses = model([sample([0, 2]), sample([])])
    assert len(losses) == 6 and all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n, p in model.named_parameters() if p.grad is not None} == trained


def test_what_is_trained(make):
    model = make()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    adapter = {n for n, _ in model.named_parameters() if n.startswith("side_adapter.")}
    assert trained == adapter | {"bg_embed", "clip.model.visual.positional_embedding"}
    more = make("MODEL.SAN.CLIP_FROZEN_EXCLUDE", "['all']",
                "MODEL.SAN.CLIP_DEEPER_FROZEN_EXCLUDE", "['ln_post','mlp']")  # fmt: skip
    deeper = {n for n, p in more.named_parameters() if p.requires_grad} - trained
    assert "clip.model.visual.transformer.resblocks.2.attn.in_proj_weight" in deeper
    assert "clip.model.visual.transformer.resblocks.3.attn.in_proj_weight" not in deeper
    assert "clip.model.visual.transformer.resblocks.3.mlp.c_fc.weight" in deeper
    assert "clip.model.visual.ln_post.weight" in deeper
    assert not any(n.startswith("clip.model.transformer") for n in deeper)


def test_a_batch_without_segments_trains_the_void_row_alone(make, sample):
    losses = make().train()([sample([]), sample([])])
    assert losses["loss_mask"] == 0 and losses["loss_dice_0"] == 0 and losses["loss_ce"] > 0
    sum(losses.values()).backward()


def test_labels_are_the_argmax_of_the_scores(make, picture):
    model = make()
    best = scores(model, picture).argmax(0)
    model.output = "labels"
    assert torch.equal(model([{"image": picture, "height": 40, "width": 60}])[0]["sem_seg_labels"],
                       best)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.OVS.PROTOCOL.NAME", "slide"), "whole picture"),
        (("MODEL.SAN.FEATURE_LAST_LAYER_IDX", "5"), "leaves none of CLIP's 5 blocks"),
        (("MODEL.SIDE_ADAPTER.FUSION_MAP", "['0->0','4->1']"), "'4->1' must be"),
        (("MODEL.SIDE_ADAPTER.FUSION_MAP", "['0->0','1->0']"), "'1->0' must be"),
        (("MODEL.SIDE_ADAPTER.FUSION_MAP", "['zero']"), "'zero' must be"),
        (("MODEL.SIDE_ADAPTER.DEEP_SUPERVISION_IDXS", "[4,3]"), "must rise"),
        (("MODEL.SIDE_ADAPTER.DEEP_SUPERVISION_IDXS", "[2,3]"), "DEPTH, 4"),
        (("MODEL.SIDE_ADAPTER.WIDTH", "97"), "no multiple of HEADS"),
        (("MODEL.SIDE_ADAPTER.IMAGE_SIZE", "60"), "no multiple of PATCH"),
        ((f"{BIAS}NUM_HEADS", "2"), "CLIP's 3 heads"),
        ((f"{BIAS}NUM_LAYERS", "3"), "set 1 or 2"),
        (("MODEL.SAN.REC_DOWNSAMPLE_METHOD", "nearest"), "REC_DOWNSAMPLE_METHOD"),
        (("MODEL.SAN.SOS_TOKEN_FORMAT", "cls"), "SOS_TOKEN_FORMAT"),
        (("MODEL.SAN.CLIP_FROZEN_EXCLUDE", "['positions']"), "name of no parameter"),
        (("MODEL.CLIP.ARCHITECTURE", "embedded-convnext"), "ViT"),
    ],
)
def test_what_does_not_fit_is_refused(make, options, message):
    with pytest.raises(UserError, match=message):
        make(*options)
