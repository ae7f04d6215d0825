"""Both meta-architectures: outputs, invariants, training, wrong input."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from maftplus.fcclip import FCCLIP
from maftplus.mask_segmenter import Tasks
from maftplus.texts import seen_classes, thing_classes
from ovs_core.errors import UserError
from ovs_core.words.vocabulary import Vocabulary
from parity.maftplus.tiny_models import vocabulary

spec = importlib.util.spec_from_file_location(
    "maftplus_conftest", Path(__file__).with_name("conftest.py")
)
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
training_sample = helpers.training_sample

METHODS = ("fcclip", "maftplus")


def run(model, picture, words=None, size=(48, 65)):
    model.eval()
    if words is not None:
        model.set_vocabulary(words)
    one = {"image": picture, "height": size[0], "width": size[1]}
    return model([one])[0]


@pytest.mark.parametrize("method", METHODS)
def test_outputs_have_the_size_of_the_original_and_belong_together(make, picture, method):
    model = make(method)
    out = run(model, picture, vocabulary(["dog", "lake", "tree"], [0]))
    assert out["sem_seg"].shape == (3, 48, 65)
    ids, info = out["panoptic_seg"]
    assert ids.shape == (48, 65)
    assert {s["id"] for s in info} == set(ids.unique().tolist()) - {0}
    assert all(s["isthing"] == (s["category_id"] == 0) for s in info)
    found = out["instances"]
    assert set(found.pred_classes.tolist()) <= {0}
    assert found.pred_masks.shape[1:] == (48, 65)


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_the_argmax_of_the_scores(make, picture, method):
    model = make(method, panoptic=False, instance=False)
    words = vocabulary([f"name {i}" for i in range(40)])
    scores = run(model, picture, words)["sem_seg"]
    model.output = "labels"
    labels = run(model, picture)["sem_seg_labels"]
    assert torch.equal(labels, scores.argmax(0))


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_classes_does_not_matter(make, picture, method):
    model = make(method)
    names = ["dog", "lake", "tree", "cat"]
    forward = run(model, picture, vocabulary(names))["sem_seg"]
    backward = run(model, picture, vocabulary(names[::-1]))["sem_seg"]
    torch.testing.assert_close(forward, backward.flip(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_repeated_synonym_changes_nothing(make, picture, method):
    model = make(method)
    once = run(model, picture, vocabulary(["dog,puppy", "lake"]))["sem_seg"]
    twice = run(model, picture, vocabulary(["dog,puppy,dog", "lake"]))["sem_seg"]
    torch.testing.assert_close(once, twice, atol=1e-6, rtol=1e-5)


def test_no_thing_among_the_words_gives_no_instance(make, picture):
    found = run(make("fcclip"), picture, vocabulary(["sky", "lake"]))["instances"]
    assert len(found) == 0 and found.pred_masks.shape == (0, 48, 65)


def test_one_picture_is_encoded_once_for_many_vocabularies(make, picture):
    model = make("maftplus").eval()
    with torch.no_grad():
        encoded = model.encode_picture(picture)
        for words in (["dog"], ["dog", "lake", "tree"]):
            model.set_vocabulary(words)
            assert model.score_picture(encoded, (20, 30)).full().shape == (len(words), 20, 30)


def test_without_the_ensemble_the_trained_scores_decide(make):
    model = make("fcclip", alpha=0.0, beta=0.0)
    trained = torch.randn(1, 5, 4)
    own = torch.full_like(trained, float("nan"))
    blended = model.blend(trained, own, torch.randn(1, 5, 2, 2)).exp()
    void = trained.softmax(-1)[..., -1:]
    torch.testing.assert_close(blended[..., :-1], trained[..., :-1].softmax(-1) * (1 - void))


@pytest.mark.parametrize("method", METHODS)
def test_training_reduces_the_loss(make, picture, method):
    torch.manual_seed(0)
    model = make(method).train()
    batch = [training_sample(picture, [0, 2])]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    totals = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = sum(model(batch).values())
        loss.backward()
        optimizer.step()
        totals.append(float(loss.detach()))
    assert totals[-1] < 0.8 * totals[0]


def test_what_is_trained(make):
    fcclip = {n for n, p in make("fcclip").named_parameters() if p.requires_grad}
    assert not any(n.startswith("clip.") for n in fcclip)
    maft = {n for n, p in make("maftplus").named_parameters() if p.requires_grad}
    assert any(n.startswith("clip.model.visual.trunk.stages") for n in maft)
    assert not any("visual.head" in n or "trunk.head" in n for n in maft)
    assert not any(n.startswith("clip.") and "visual.trunk" not in n for n in maft)


def test_the_teacher_is_loaded_by_training_only(make, picture):
    model = make("maftplus")
    run(model, picture, ["dog"])
    assert not model.has_teacher
    model.set_vocabulary(model.trained_words)
    model.train()([training_sample(picture, [0])])
    assert model.has_teacher
    assert not any("teacher" in name for name in model.state_dict())


def test_clip_stays_deterministic_in_training(make):
    assert not any(m.training for m in make("fcclip").train().clip.modules())
    assert not any(m.training for m in make("maftplus").train().clip.modules())


def test_stochastic_depth_is_on_in_training_only(make):
    model = make("maftplus")
    model.drop_path = "both"
    assert all(m.training for t in model.train().encoder.trunk_modules() for m in t.modules())
    assert not model.clip.model.transformer.training
    assert not any(m.training for m in model.eval().modules())
    assert all(m.training for m in model.teacher.visual.modules())


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_without_segments_gives_finite_losses(make, picture, method):
    model = make(method).train()
    losses = model([training_sample(picture, [])])
    assert all(torch.isfinite(v) for v in losses.values())
    assert losses["loss_mask"] == 0
    sum(losses.values()).backward()


@pytest.mark.parametrize("method", METHODS)
def test_more_segments_than_queries(make, picture, method):
    model = make(method).train()
    losses = model([training_sample(picture, [0, 1, 2, 0, 1, 2, 0])])
    assert all(torch.isfinite(v) for v in losses.values())


def test_a_batch_mixes_sizes(make, picture):
    model = make("maftplus").train()
    small = picture[:, :64, :70]
    losses = model([training_sample(picture, [0]), training_sample(small, [1, 2])])
    assert all(torch.isfinite(v) for v in losses.values())


def test_a_class_outside_the_vocabulary_is_named(make, picture):
    with pytest.raises(UserError, match=r"a\.jpg: class 3 is outside .* 3 classes"):
        make("fcclip").train()([training_sample(picture, [0, 3])])


def test_a_record_without_segments_names_the_mapper(make, picture):
    with pytest.raises(UserError, match="MaskSemanticMapper"):
        make("fcclip").train()([{"image": picture, "file_name": "a.jpg"}])


def test_an_empty_vocabulary_is_refused(make):
    with pytest.raises(UserError, match="empty"):
        make("fcclip").set_vocabulary([])


def test_a_picture_too_narrow_for_the_compensation(make, picture):
    with pytest.raises(UserError, match="128 pixels"):
        make("maftplus").train()([training_sample(picture[..., :90], [0])])


def test_maftplus_refuses_a_resnet(make):
    clip = {"kind": "resnet", "layers": [1, 1, 1, 1], "width": 4, "embed": 16, "image_size": 64,
            "head_width": 64}  # fmt: skip
    with pytest.raises(UserError, match="ConvNeXt"):
        make("maftplus", clip=clip)
    assert isinstance(make("fcclip", clip=clip), FCCLIP)


def test_all_outputs_off_is_refused():
    with pytest.raises(UserError, match="all off"):
        Tasks(semantic=False)


def test_seen_is_letter_for_letter():
    trained = vocabulary(["dog,puppy", "Sky"])
    assert seen_classes(vocabulary(["hound,puppy", "sky", "cat"]), trained) == [True, False, False]


def test_own_words_are_things_unless_training_knew_stuff():
    trained = vocabulary(["dog", "sky,clouds"], [0])
    assert thing_classes(Vocabulary.parse("dog, clouds, teapot"), trained) == [True, False, True]
    assert thing_classes(vocabulary(["sky", "teapot"], [0]), trained) == [True, False]


@pytest.mark.parametrize("method", METHODS)
def test_two_models_from_one_state_agree(make, picture, method):
    model = make(method)
    other = make(method)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    words = vocabulary(["dog", "lake"])
    assert torch.equal(run(model, picture, words)["sem_seg"], run(other, picture, words)["sem_seg"])
