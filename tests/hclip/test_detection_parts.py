"""The detector's parts against direct computations."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from torch.nn import functional as F

from hclip import FinetuneSettings
from hclip.adaptation import fold_into_clip
from hclip.detection.backbone import AdaptedBackbone, BlockPyramid
from hclip.detection.build import build_adapted_encoder
from hclip.detection.encoder import DENSE
from hclip.detection.fusion import FusionSettings, ScoreFusion
from hclip.detection.region_classifier import RegionClassifier
from hclip.detection.roi_heads import RegionTextROIHeads
from ovs_core.engine.checkpoint import OVSCheckpointer
from ovs_core.errors import UserError

FREEZE = FinetuneSettings(mode="freeze")
BASE = torch.tensor([True, True, False, True, False])


def units(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def classifier(text=None, base=BASE, novel_negatives=False, **kinds):
    torch.manual_seed(2)
    made = RegionClassifier(
        ShapeSpec(channels=12), embed_dim=6, box2box_transform=Box2BoxTransform((1.0,) * 4),
        novel_negatives=novel_negatives,
    )  # fmt: skip
    text = units(len(base), 6) if text is None else text
    all_true = torch.ones(len(text), dtype=torch.bool)
    made.set_words(text, **{"base": base, "takes_part": all_true, "is_shown": all_true, **kinds})
    return made


def saved(model, folder):
    OVSCheckpointer(model, str(folder)).save("model")
    return str(folder / "model.pth")


def test_pyramid_has_the_stated_strides_and_channels(tiny):
    backbone = AdaptedBackbone(
        build_adapted_encoder(tiny.clip(), FREEZE, taps=(0, 1, 2, 2)), channels=10, norm=""
    )
    shapes = backbone.output_shape()
    assert [s.stride for s in shapes.values()] == [1, 2, 4, 8, 16, 4]  # patches of 4 pixels
    assert list(shapes) == ["p0", "p1", "p2", "p3", "p4", DENSE]
    assert backbone.size_divisibility == 8
    features = backbone(torch.randn(2, 3, 24, 40))
    for name, shape in shapes.items():
        size = (-(-24 // shape.stride), -(-40 // shape.stride))
        assert tuple(features[name].shape) == (2, shape.channels, *size), name


def test_only_pyramid_and_fpn_train(tiny):
    encoder = build_adapted_encoder(tiny.clip(), FREEZE, taps=(0, 1, 2, 2))
    backbone = AdaptedBackbone(encoder, channels=8, norm="")
    trained = {n.split(".")[0] for n, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"fpn"}
    assert not backbone(torch.randn(1, 3, 16, 16))[DENSE].requires_grad
    assert not any(module.training for module in backbone.train().encoder.modules())


@pytest.mark.parametrize("mode", ["hclip", "oft", "lora", "ssf", "vpt", "adapter", "lst"])
def test_encoder_is_the_one_that_segmentation_adapted(tiny, images, tmp_path, mode):
    model = tiny.perturb(tiny.model(mode)).eval()
    path = saved(model, tmp_path)
    encoder = build_adapted_encoder(
        tiny.clip(), tiny.finetune(mode), adapted=path, taps=(0, 1, 2, 2)
    )
    with torch.no_grad():
        expected = model.encode(images).dense
        plain = build_adapted_encoder(tiny.clip(), FREEZE, taps=(0, 1, 2, 2))(images)
    given = encoder(images)
    assert torch.equal(given.dense, expected)
    assert (plain.dense - given.dense).abs().max() > 0.01
    assert encoder.clip.identity.text_fingerprint != model.clip.identity.text_fingerprint
    if not model.adaptation.foldable:
        return
    fold_into_clip(model.adaptation, model.clip)  # what ovsuite merge writes
    merged = build_adapted_encoder(model.clip, FREEZE, taps=(0, 1, 2, 2))(images)
    torch.testing.assert_close(merged.dense, given.dense, atol=1e-4, rtol=1e-4)
    for a, b in zip(merged.taps, given.taps, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_last_block_may_keep_its_own_residual(tiny, images):
    cls, token = (
        build_adapted_encoder(tiny.clip(), FREEZE, taps=(0, 1, 2, 2), last_block=kind)(images)
        for kind in ("cls", "token")
    )
    assert torch.equal(cls.taps[1], token.taps[1])
    assert not torch.allclose(cls.dense, token.dense)


def test_class_weights():
    outside = torch.tensor([True, False, True, True, True])
    weights = classifier(takes_part=outside).class_weights()
    assert weights.tolist() == pytest.approx([1, 0, 0, 1, 0, 0.6])


def test_logits_are_scaled_cosines_with_the_background_last():
    made = classifier().eval()
    regions = torch.randn(7, 6)
    background = made.background / made.background.norm()
    for region, row in zip(regions, made.logits(regions), strict=True):
        expected = [50 * F.cosine_similarity(region, t, dim=0) for t in (*made.text, background)]
        torch.testing.assert_close(row, torch.stack(expected))


def test_loss_is_the_weighted_cross_entropy_over_base_and_background():
    made = classifier().train()
    regions, classes = torch.randn(6, 6), torch.tensor([0, 3, 5, 5, 1, 2])  # 2 is novel, 5 nothing
    logits = 50 * F.normalize(regions, dim=1) @ torch.cat([made.text, made.background[None]]).T
    total = 0.0
    for row, label in zip(logits, classes.tolist(), strict=True):
        if label != 2:
            weight = 0.6 if label == 5 else 1.0
            total += weight * (row[[0, 1, 3, 5]].logsumexp(0) - row[label])
    loss = made.classification_loss(made.logits(regions), classes)
    torch.testing.assert_close(loss, total / 6)


def test_no_region_is_pushed_away_from_novel_words():
    text, regions = units(5, 6), torch.randn(4, 6)
    classes = torch.tensor([0, 5, 5, 3])
    gradients = []
    for novel in (text, torch.where(BASE[:, None], text, units(5, 6, seed=9))):
        made, x = classifier(novel).train(), regions.clone().requires_grad_()
        made.classification_loss(made.logits(x), classes).backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients) and gradients[0].abs().max() > 0
    made, x = classifier(text).train(), regions.clone().requires_grad_()
    made.classification_loss(made.logits(x), torch.full((4,), 2)).backward()
    assert not x.grad.any()


def test_novel_words_compete_at_test_time_and_left_out_ones_do_not():
    made = classifier(takes_part=torch.tensor([True, True, True, True, False]))
    train, test = (made.train(mode).logits(units(3, 6)).softmax(-1) for mode in (True, False))
    assert not train[:, [2, 4]].any() and (test[:, 2] > 0).all() and not test[:, 4].any()


def test_novel_words_can_be_kept_as_negatives():
    made, regions = classifier(novel_negatives=True).train(), torch.randn(2, 6)
    logits = made.logits(regions)
    assert torch.isfinite(logits).all()
    expected = F.cross_entropy(logits, torch.tensor([0, 5]), reduction="none")
    loss = made.classification_loss(logits, torch.tensor([0, 5]))
    torch.testing.assert_close(loss, (expected[0] + 0.6 * expected[1]) / 2)


def test_without_a_base_class_training_says_so():
    made = classifier(base=torch.zeros(5, dtype=torch.bool))
    with pytest.raises(UserError, match="none of the training classes is a base class"):
        made.losses((torch.zeros(1, 6), torch.zeros(1, 4)), [])


def test_region_scores_are_those_of_the_mean_feature():
    fusion = ScoreFusion(4, FusionSettings(temperature=10))
    dense, text = torch.randn(1, 6, 5, 5), units(3, 6)
    part = torch.tensor([True, False, True])
    box = torch.tensor([[4.0, 0.0, 12.0, 8.0]])  # cells 1..2 of rows 0..1
    mean = dense[0, :, 0:2, 1:3].flatten(1).mean(1)
    logits = torch.stack([10 * F.cosine_similarity(mean, t, dim=0) for t in text[[0, 2]]])
    scores = fusion.region_scores(dense, [Boxes(box)], text, part)
    torch.testing.assert_close(scores[0, [0, 2]], logits.softmax(0))
    assert scores[0, 1] == 0


def test_fusion_formula():
    fusion = ScoreFusion(4, FusionSettings())
    detector, region = torch.rand(4, 6).softmax(-1), torch.rand(4, 5).softmax(-1)
    fused = fusion.fuse(detector, region, BASE)
    for r in range(4):
        for k in range(5):
            w = 0.1 if BASE[k] else 0.8
            expected = detector[r, k].item() ** (1 - w) * region[r, k].item() ** w
            assert fused[r, k].item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(fused[:, 5], detector[:, 5])


def heads(fusion, **kinds):
    made = SimpleNamespace(fusion=fusion, box_predictor=classifier(**kinds))
    return lambda *inputs: RegionTextROIHeads.class_scores(made, *inputs)


def test_fusion_of_weight_zero_is_no_fusion():
    detector, boxes = torch.rand(3, 6).softmax(-1), [torch.tensor([[0.0, 0, 9, 9]] * 3)]
    dense = torch.randn(1, 6, 5, 5)
    nothing = ScoreFusion(4, FusionSettings(base_weight=0, novel_weight=0))
    assert torch.equal(heads(None)(detector, dense, boxes), detector)
    torch.testing.assert_close(heads(nothing)(detector, dense, boxes), detector)
    full = heads(ScoreFusion(4, FusionSettings()))(detector, dense, boxes)
    assert (full - detector).abs().max() > 0.01


def test_background_words_compete_and_give_no_boxes():
    shown = torch.tensor([True, True, True, False, True])
    detector = torch.rand(3, 6).softmax(-1)
    scores = heads(None, is_shown=shown)(detector, None, None)
    kept = [0, 1, 2, 4, 5]
    assert not scores[:, 3].any() and torch.equal(scores[:, kept], detector[:, kept])


def test_a_picture_without_boxes_gives_background_loss_alone():
    made = classifier().train()
    nothing = {"proposal_boxes": Boxes(torch.rand(4, 4)), "gt_classes": torch.full((4,), 5)}
    losses = made.losses(made(torch.randn(4, 12)), [Instances((32, 32), **nothing)])
    assert losses["loss_box_reg"] == 0 and losses["loss_cls"] > 0


def test_patches_that_give_no_strides_are_refused():
    with pytest.raises(UserError, match="power of two"):
        BlockPyramid(8, 14)
    assert [s.stride for s in BlockPyramid(8, 16).output_shape().values()] == [4, 8, 16, 32]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adapted": "x.pth"}, "freeze adapts nothing"),
        ({"last_block": "clss"}, "Did you mean 'cls'"),
        ({"taps": (0, 3)}, "the tower has 3 blocks"),
    ],
)
def test_wrong_settings_of_the_encoder(tiny, arguments, message):
    with pytest.raises(UserError, match=message):
        build_adapted_encoder(tiny.clip(), FREEZE, **{"taps": (0,), **arguments})


def test_wrong_number_of_taps(tiny):
    with pytest.raises(UserError, match="TAPS: 2 blocks named; the pyramid takes 4"):
        AdaptedBackbone(build_adapted_encoder(tiny.clip(), FREEZE, taps=(0, 1)))


def test_adapted_weights_that_do_not_fit(tiny, tmp_path):
    lora, taps = tiny.finetune("lora"), (0,)
    path = saved(tiny.model("lora"), tmp_path)
    with pytest.raises(UserError, match="ADAPTED is empty"):
        build_adapted_encoder(tiny.clip(), lora, taps=taps)
    with pytest.raises(UserError, match="no such checkpoint; train a segmentation config"):
        build_adapted_encoder(tiny.clip(), lora, adapted=path + "x", taps=taps)
    with pytest.raises(UserError, match="does not fit an adaptation of FINETUNE hclip"):
        build_adapted_encoder(tiny.clip(), tiny.finetune("hclip"), adapted=path, taps=taps)
    with pytest.raises(UserError, match="was trained on CLIP tiny"):
        build_adapted_encoder(tiny.clip(seed=5), lora, adapted=path, taps=taps)
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "plain.pth")
    with pytest.raises(UserError, match="goes to MODEL.CLIP.PRETRAINED"):
        build_adapted_encoder(tiny.clip(), lora, adapted=str(tmp_path / "plain.pth"), taps=taps)


def test_adapted_weights_that_are_not_as_written(tiny, tmp_path):
    path = saved(tiny.model("lora"), tmp_path)
    data = torch.load(path, weights_only=True)
    name = next(n for n in data["model"] if n.startswith("clip."))
    data["model"][name] = data["model"][name] + 1
    torch.save(data, path)
    with pytest.raises(UserError, match="ADAPTED .*is not what was written"):
        build_adapted_encoder(tiny.clip(), tiny.finetune("lora"), adapted=path, taps=(0,))


def test_fusion_weights_outside_their_range():
    with pytest.raises(UserError, match=r"FUSION.NOVEL_WEIGHT: 1.8 is not in 0..1"):
        FusionSettings(novel_weight=1.8)
