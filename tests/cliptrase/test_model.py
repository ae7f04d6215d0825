"""Whole pictures through every method, and what must hold for any weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from cliptrase.last_steps import LastSteps
from cliptrase.mask_sources import DinoSource, GivenSource, external_matrix
from cliptrase.maskclip import MaskClipTower, use_released_numerics
from cliptrase.regions import RegionRule
from cliptrase.scoring import CosineScorer, MaskClipScorer
from cliptrase.square_crop import crop_labels, square_crop
from cliptrase.surgery import SurgeryScorer, SurgeryTower
from cliptrase.tower import RecoveryTower, TowerRule
from cliptrase.views import View
from ovs_core.clip import ImageEncoder
from ovs_core.data.labels import read_label_file
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.modeling.pamr import pamr
from ovs_core.modeling.protocols import Slide
from ovs_core.modeling.score_thresholds import ScoreThresholds
from tests.cliptrase.helpers import blocky_picture, build_clip, build_model


def labels(model, picture, size=None, **extra):
    size = size or tuple(picture.shape[-2:])
    one = {"image": picture, "height": size[0], "width": size[1], **extra}
    return model([one])[0]["sem_seg_labels"]


@pytest.mark.parametrize("protocol", ["fullres", "d2"])
@pytest.mark.parametrize("vote", ["majority", "mean_logits", "none"])
def test_labels_at_picture_size(clip, picture, protocol, vote):
    model = build_model(clip, view=View(protocol, 56), vote=vote)
    found = labels(model, picture, (140, 200))
    assert found.shape == (140, 200)
    assert found.dtype == torch.int64
    assert 0 <= found.min() and found.max() < 5


def test_each_region_has_one_label(clip, picture):
    model = build_model(clip)
    encoded = model.encode_picture(picture)
    assert encoded.regions.count > 1
    masks = model.region_masks(encoded, (70, 100))
    found = labels(model, picture)
    for number in masks.unique():
        assert len(found[masks == number].unique()) == 1


def test_without_clusters_the_vote_changes_nothing(clip, picture):
    noise = build_model(clip, regions=RegionRule(1e-6, 3))
    assert noise.encode_picture(picture).regions.count == 0
    assert torch.equal(labels(noise, picture), labels(build_model(clip, regions=None), picture))


def test_one_cluster_gives_one_label(clip, picture):
    model = build_model(clip, regions=RegionRule(1e3, 3))
    assert model.encode_picture(picture).regions.count == 1
    assert len(labels(model, picture).unique()) == 1


def test_the_result_does_not_depend_on_the_batch(clip):
    model = build_model(clip)
    pictures = [blocky_picture(70, 100, 0), blocky_picture(70, 100, 1), blocky_picture(64, 60, 2)]
    batch = model([{"image": p, "height": 90, "width": 80} for p in pictures])
    for picture, output in zip(pictures, batch, strict=True):
        alone = labels(model, picture, (90, 80))
        assert (alone == output["sem_seg_labels"]).float().mean() > 0.999


def test_scaling_the_words_changes_no_label(clip, picture, monkeypatch):
    model = build_model(clip)
    expected = labels(model, picture)
    text = model.text_features()
    monkeypatch.setattr(model, "text_features", lambda: 3.7 * text)
    assert torch.equal(labels(model, picture), expected)


def test_background_words_become_one_class(clip, picture):
    words = "cat, dog, background: tree, background: sky, background: wall"
    folded = labels(build_model(clip, words=words), picture)
    assert set(folded.unique().tolist()) <= {0, 1, 2}
    one_by_one = labels(build_model(clip, words=words, regions=None), picture)
    assert torch.equal(one_by_one, labels(build_model(clip, regions=None), picture).clamp(max=2))


def test_scores_instead_of_labels(clip, picture):
    model = build_model(clip, vote="mean_logits", output="scores")
    full = model([{"image": picture}])[0]["sem_seg"]
    assert full.shape == (5, 70, 100)
    assert torch.equal(full.argmax(0), labels(build_model(clip, vote="mean_logits"), picture))


def baselines(visual):
    return {
        "clip": {"tower": RecoveryTower(visual, TowerRule("vanilla", corr_layer=None))},
        "sclip": {"tower": RecoveryTower(visual, TowerRule("csa", corr_layer=None))},
        "maskclip": {"tower": MaskClipTower(visual, keys=True), "scorer": MaskClipScorer(0.1, 0.5)},
        "surgery": {"tower": SurgeryTower(visual), "scorer": SurgeryScorer()},
    }


@pytest.mark.parametrize("name", ["clip", "sclip", "maskclip", "surgery"])
@pytest.mark.parametrize("own_view", [True, False], ids=["fullres", "slide"])
def test_baselines_run_under_every_protocol(clip, picture, name, own_view):
    parts = baselines(clip.visual)[name] | {"regions": None}
    if not own_view:
        parts |= {"view": None, "protocol": Slide(56, 28)}
    found = labels(build_model(clip, **parts), picture)
    assert found.shape == (70, 100)
    assert found.max() < 5


def test_plain_clip_is_the_untouched_tower(clip):
    images = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    tower = RecoveryTower(clip.visual, TowerRule("vanilla"))
    ours, plain = tower(images), ImageEncoder(clip.visual)(images)
    assert torch.allclose(ours.tokens[:, 0], plain.cls, atol=1e-5)
    patches = ours.patches.transpose(1, 2).unflatten(2, ours.grid)
    assert torch.allclose(patches, plain.patches, atol=1e-5)
    assert ours.correlation.shape == (2, 50, 50)


def test_surgery_keeps_the_cls_token(clip):
    images = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    plain = ImageEncoder(clip.visual)(images)
    assert torch.allclose(SurgeryTower(clip.visual)(images).tokens[:, 0], plain.cls, atol=1e-5)


def test_surgery_of_one_word_needs_the_empty_text(clip, picture):
    model = build_model(clip, words="cat", regions=None)
    empty = model.text_embedder.texts([""], ["a {}"])
    scorer = SurgeryScorer(lambda: empty)
    dense = SurgeryTower(clip.visual)(torch.zeros(1, 3, 56, 56))
    assert scorer(dense, model.text_features()).shape == (1, 1, 7, 7)


def test_released_maskclip_differs_from_the_faithful_one():
    clip = build_clip()
    images = torch.randn(1, 3, 60, 56, generator=torch.Generator().manual_seed(0))
    faithful = MaskClipTower(clip.visual)(images)
    use_released_numerics(clip.visual)
    released = MaskClipTower(clip.visual)(images)
    assert released.grid == faithful.grid == (8, 7)
    assert not torch.allclose(released.tokens, faithful.tokens, atol=1e-3)


def test_sclips_own_protocol_scores_synonyms_and_thresholds(clip, picture):
    parts = {
        "tower": RecoveryTower(clip.visual, TowerRule("csa", corr_layer=None)),
        "scorer": CosineScorer(1.0),
        "regions": None,
        "view": None,
        "protocol": Slide(56, 28, pad_small=False),
    }
    words = ["wall|floor|sky", "cat|kitten", "dog"]
    plain = build_model(clip, words=words, last_steps=LastSteps(), **parts)
    assert labels(plain, picture).max() <= 2
    never = LastSteps(ScoreThresholds(40.0, probability=1.1))
    unsure = build_model(clip, words=words, last_steps=never, **parts)
    assert labels(unsure, picture).eq(0).all()
    refined = build_model(clip, words=words, last_steps=LastSteps(pamr_steps=2), **parts)
    assert labels(refined, picture).shape == (70, 100)


def test_pamr_keeps_flat_maps():
    images = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    flat = torch.full((1, 2, 20, 24), 0.3)
    assert torch.allclose(pamr(images, flat, steps=3, dilations=(1, 2)), flat, atol=1e-5)


def test_ground_truth_restriction(clip, picture):
    truth = torch.zeros(70, 100, dtype=torch.int64)
    truth[:, 50:] = 1
    model = build_model(clip, gt_restricted=True, regions=None)
    restricted = labels(model, picture, sem_seg=truth)
    assert restricted.shape == (70, 100)
    with pytest.raises(UserError, match="GT_RESTRICTED needs 'sem_seg'"):
        labels(model, picture)
    with pytest.raises(UserError, match="a PROTOCOL that shows the whole picture"):
        build_model(clip, gt_restricted=True, regions=None, view=None, protocol=Slide(56, 28))


def test_external_masks(clip, picture):
    model = build_model(clip, mask_source=GivenSource(), regions=RegionRule(0.1, 3, denoise="none"))
    halves = torch.zeros(7, 10)
    halves[:, 5:] = 1
    features = torch.stack([halves, 1 - halves], dim=-1).flatten(0, 1)
    found = labels(model, picture, correlation=features)
    assert len(found[:, :40].unique()) == len(found[:, 60:].unique()) == 1
    with pytest.raises(UserError, match=r"\(71, 71\) with CLS first or \(70, F\)"):
        labels(model, picture, correlation=torch.zeros(3, 3))
    with pytest.raises(UserError, match="needs 'correlation'"):
        labels(model, picture)


def test_external_matrix_is_taken_as_it_is():
    matrix = torch.rand(5, 5)
    assert torch.equal(external_matrix(matrix, 4), matrix)
    features = external_matrix(torch.rand(4, 9), 4)
    assert features.shape == (5, 5)
    assert features[0].eq(0).all()


def test_dino_masks_fit_the_grid(clip, picture):
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    dino = VisionTransformer(
        img_size=28,
        patch_size=14,
        embed_dim=32,
        depth=1,
        num_heads=2,
        num_classes=0,
        dynamic_img_size=True,
    )
    source = DinoSource(dino)
    matrix = source.matrix(picture, (7, 10))
    assert matrix.shape == (71, 71)
    assert torch.allclose(matrix.diagonal(), torch.ones(71), atol=1e-5)
    model = build_model(clip, mask_source=source, regions=RegionRule(0.5, 2))
    assert labels(model, picture).shape == (70, 100)


def test_a_picture_smaller_than_a_patch(clip):
    model = build_model(clip, view=None, regions=None)
    with pytest.raises(UserError, match="smaller than one 8 x 8 patch"):
        labels(model, torch.zeros(3, 5, 40, dtype=torch.uint8))


def test_the_standalone_protocol_wants_its_crop(clip, picture):
    model = build_model(clip, view=View("standalone", 56))
    with pytest.raises(UserError, match="56 x 56 crop, but the picture has 70 x 100"):
        labels(model, picture)
    assert labels(model, picture[:, :56, :56]).shape == (56, 56)


def test_training_is_refused(clip, picture):
    with pytest.raises(UserError, match="training-free"):
        build_model(clip).train()([{"image": picture}])


def test_fullres_fits_the_grid_to_the_picture(clip):
    view = View("fullres", 56)
    assert view.resize(torch.zeros(3, 100, 147), (8, 8)).shape == (3, 56, 80)
    assert view.resize(torch.zeros(3, 56, 56), (8, 8)).shape == (3, 56, 56)


def test_the_padding_fix_removes_the_stretch(clip):
    picture = np.zeros((3, 40, 72), dtype=np.uint8)
    _, kept = View("d2", cut_padding=False).frame(torch.from_numpy(picture).float())
    _, cut = View("d2", cut_padding=True).frame(torch.from_numpy(picture).float())
    assert kept.canvas is None
    assert cut.canvas == (64, 96) and cut.valid == (40, 72)


@pytest.mark.parametrize("shape", [(683, 512), (120, 61), (70, 95), (57, 83)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_labels_of_16_bits_are_cropped_as_pillow_crops_their_file(shape, suffix, tmp_path):
    labels = np.random.default_rng(0).integers(0, 847, shape).astype(np.uint16)
    path = tmp_path / f"labels.{suffix}"
    Image.fromarray(labels).save(path)
    with Image.open(path) as file:
        released = np.asarray(square_crop(file, 48, labels=True))
    found = crop_labels(read_label_file(path), 48)
    assert found.dtype == np.int32 and np.array_equal(found, released)


def test_surgery_and_maskclip_have_85_prompts():
    for name in ("clip_surgery", "maskclip_released"):
        cfg = load_cfg(find_config(f"cliptrase/baselines/{name}"))
        cfg.MODEL.CLIP.PRETRAINED, cfg.MODEL.DEVICE = "random", "cpu"
        cfg.MODEL.CLIP.ARCHITECTURE = "embedded-vit"
        templates = build_segmenter(cfg).templates
        assert len(set(templates)) == len(templates) == 85
        assert templates[80:] == (
            "there is a {} in the scene.", "there is the {} in the scene.",
            "this is a {} in the scene.", "this is the {} in the scene.",
            "this is one {} in the scene.",
        )  # fmt: skip
