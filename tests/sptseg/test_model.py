"""The whole model on a small random CLIP."""

import logging

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from ovs_core.errors import UserError
from ovs_core.modeling.checkpoint import load_published, trained_state
from ovs_core.modeling.scores import WindowScores
from ovs_core.words.label_space import IGNORE
from ovs_core.words.vocabulary import Vocabulary
from sptseg.published import rename_published
from sptseg.window_scores import ProbabilityWindows

NAMES = ["red", "green", "blue", "grey"]


@pytest.fixture
def make(small_cfg):
    def build(name="vitb16", *options, unseen=(3,)):
        torch.manual_seed(0)
        model = build_model(small_cfg(name, *options))
        model.set_vocabulary(Vocabulary.from_names(NAMES), unseen=unseen)
        return model

    return build


def batch(labels=None, size=(32, 32)):
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, size, generator=generator) if labels is None else labels
    return [{"image": image, "sem_seg": labels}]


def open_gates(model):
    """Point SPT-SEG's random gates at the picture; about half of them start closed everywhere."""
    with torch.no_grad():
        _, patches = model.encoder(model._batch(batch())[0])
        for layer in model.decoder.layers:
            if hasattr(layer.attention, "gate"):
                tokens = patches.flatten(2).transpose(1, 2)
                mixed = layer.attention.mixer(tokens, tuple(patches.shape[-2:]))
                layer.attention.gate.copy_(mixed.mean(dim=(0, 1)))
    return model


def close_gates(model):
    """Point SPT-SEG's gates away from the picture."""
    open_gates(model)
    with torch.no_grad():
        for attention in model.decoder.gates():
            attention.gate.neg_()
    return model


def test_a_batch_without_labels_logs_no_accuracy(make):
    """NaN would stay in the median that Detectron2's writers print."""
    model = make().train()
    with EventStorage(0) as storage:
        model(batch(torch.full((32, 32), IGNORE)))
        assert "pixel_accuracy" not in storage.latest()
        model(batch())
        assert storage.latest()["pixel_accuracy"][0] >= 0


def test_a_gate_that_is_closed_everywhere_is_named_once(make, caplog):
    model = close_gates(make("sptseg_voc_inductive")).train()
    model(batch())
    model(batch())
    said = [m for m in caplog.messages if "closed on every patch" in m]
    assert len(said) == 1 and "layer 0, 1, 2" in said[0] and "DECODER.GATE patches" in said[0]


def test_an_open_gate_is_not_spoken_of(make, caplog):
    open_gates(make("sptseg_voc_inductive")).train()(batch())
    assert "gate" not in caplog.text


def test_gates_open_at_the_first_batch_of_a_training_and_only_there(make, caplog):
    model = close_gates(make("sptseg_voc_inductive", "MODEL.SPTSEG.DECODER.GATE", "patches"))
    closed = model.decoder.layers[0].attention.gate.detach().clone()
    with EventStorage(5):  # resumed
        model.train()(batch())
    assert torch.equal(model.decoder.layers[0].attention.gate, closed)
    assert "closed on every patch" in caplog.text

    model = close_gates(make("sptseg_voc_inductive", "MODEL.SPTSEG.DECODER.GATE", "patches"))
    model.eval()(batch())  # looking at a picture starts no training
    assert torch.equal(model.decoder.layers[0].attention.gate, closed)
    caplog.clear()
    model.train()(batch())
    opened = model.decoder.layers[0].attention.gate.detach().clone()
    assert "gate" not in caplog.text and not torch.equal(opened, closed)
    model(batch())
    assert torch.equal(model.decoder.layers[0].attention.gate, opened)


@pytest.mark.parametrize(
    "name", ["sptseg_voc_inductive", "zegclip_voc_transductive", "sptseg_voc_fully"]
)
def test_a_step_trains_prompts_and_decoder_only(make, name):
    model = open_gates(make(name)).train()
    losses = model(batch())
    assert set(losses) == {"loss_focal", "loss_dice" if "zegclip" in name else "loss_ssim"}
    sum(losses.values()).backward()
    trained = set(trained_state(model))
    assert trained and all(
        k.startswith(("encoder.prompts", "encoder.filters", "decoder")) for k in trained
    )
    assert all(p.grad is None for p in model.clip.parameters())
    assert model.encoder.prompts.first.grad.abs().sum() > 0


def test_inductive_masks_are_those_of_seen_classes_and_unseen_pixels_are_ignored(make, caplog):
    model = make().train()
    images, labels = model._batch(batch())
    logits = model.masks(model.encode(images), model.trained_text())
    assert logits.shape[1] == 3
    with caplog.at_level(logging.WARNING):
        seen = model.targets(labels, logits)
    assert "pixels of unseen classes" in caplog.text and "ignores them" in caplog.text
    assert torch.equal(seen == IGNORE, labels == 3)


def test_a_batch_without_labels_has_zero_loss_and_zero_gradients(make):
    model = make().train()
    losses = model(batch(torch.full((32, 32), IGNORE)))
    sum(losses.values()).backward()
    assert sum(losses.values()) == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    as_published = make("vitb16", "MODEL.SPTSEG.LOSS.EMPTY_BATCH_NEGATIVES", "True").train()
    assert sum(as_published(batch(torch.full((32, 32), IGNORE))).values()) > 0


def test_small_training_pictures_are_padded_with_zeros_and_ignored(make):
    model = make().train()
    images, labels = model._batch(batch(size=(20, 30)))
    assert images.shape[-2:] == labels.shape[-2:] == (32, 32)
    assert images[..., 20:, :].abs().max() == 0 and (labels[:, :, 30:] == IGNORE).all()


@pytest.mark.parametrize("size", [(40, 57), (20, 70), (20, 25), (32, 32)])
def test_labels_at_the_original_size_and_small_pictures(make, size):
    model = make().eval()
    one = {**batch(size=size)[0], "height": 50, "width": 61}
    labels = model([one])[0]["sem_seg_labels"]
    assert labels.shape == (50, 61)
    model.output = "scores"
    assert torch.equal(model([one])[0]["sem_seg"].argmax(0), labels)


def test_the_bias_is_taken_off_seen_classes_unless_transductive(make):
    maps = torch.zeros(2, 1, 1)
    biased = make().activate(maps, slice(2, 4))
    torch.testing.assert_close(biased.flatten(), torch.tensor([0.4, 0.5]))
    plain = make("sptseg_voc_transductive").activate(maps, slice(2, 4))
    torch.testing.assert_close(plain.flatten(), torch.tensor([0.5, 0.5]))


def test_the_class_embedding_counts_twice_by_default(make):
    once = make("vitb16", "MODEL.SPTSEG.CLASS_EMBEDDING_TWICE", "False")
    twice, image = make(), torch.randn(1, 3, 32, 32)
    difference = twice.encoder.encoder.embed(image)[0] - once.encoder.encoder.embed(image)[0]
    assert difference[:, 0].abs().max() > 0 and difference[:, 1:].abs().max() == 0


def test_filters_are_shared_frozen_and_placed_as_asked(make):
    shared = make("ablations/table3_layers_6_12")
    assert shared.encoder.spectral_layers == [5, 6, 7, 8, 9, 10, 11]
    assert len(shared.encoder.filters) == 1
    own = make("vitb16", "MODEL.SPTSEG.SPECTRAL.SHARED_FILTER", "False")
    assert len(own.encoder.filters) == 2
    frozen = make("vitb16", "MODEL.SPTSEG.SPECTRAL.TRAIN", "False")
    assert not any("filters" in name for name in trained_state(frozen))


def test_spectral_prompts_are_computed_where_they_are_used_only(make):
    model, calls = make(), []
    model.encoder.filters[0].register_forward_hook(lambda *_: calls.append(1))
    model.encoder(torch.randn(1, 3, 32, 32))
    assert len(calls) == 2


def published_names(model):
    """A state dict as the published classes would save this model, dead weights included."""
    attention = {
        "query": "multihead_attn.q", "key": "multihead_attn.k", "value": "multihead_attn.v",
        "gate": "hlfs.prompt", "transform": "hlfs.top_down_transform",
        "mixer.low_query": "hlfs.l_q", "mixer.low_key_value": "hlfs.l_kv",
        "mixer.low_project": "hlfs.l_proj", "mixer.high_qkv": "hlfs.h_qkv",
    }  # fmt: skip
    spectral = hasattr(model.decoder.layers[0].attention, "gate")
    attention["project"] = "hlfs.proj" if spectral else "multihead_attn.proj"
    rules = [(f"attention.{ours}", theirs) for ours, theirs in attention.items()]
    rules += [("expand", "linear1"), ("reduce", "linear2")]
    rules += [("attention_norm", "norm2"), ("feedforward_norm", "norm3")]
    rules += [
        ("encoder.prompts.first", "backbone.prompt_embeddings"),
        ("encoder.prompts.deep", "backbone.deep_prompt_embeddings"),
        ("encoder.prompts.project", "backbone.prompt_proj"),
        ("encoder.prompts.norm", "backbone.prompt_norm"),
        ("encoder.filters.0.weight", "backbone.complex_weight"),
        ("decoder.query", "decode_head.q_proj"),
        ("decoder.layers", "decode_head.decoder_1.layers"),
    ]
    state = {}
    for name, tensor in trained_state(model).items():
        for ours, theirs in rules:
            name = name.replace(ours, theirs)
        state[name] = tensor.clone()
    dead = {"decode_head.loss_decode.criterion.empty_weight": torch.ones(5)}
    for layer in range(3):
        stem = f"decode_head.decoder_1.layers.{layer}."
        dead[stem + "norm1.weight"] = dead[stem + "self_attn.in_proj_bias"] = torch.ones(3)
        if spectral:
            dead[stem + "multihead_attn.q.weight"] = dead[stem + "hlfs.h_proj.bias"] = torch.ones(3)
    if spectral:
        dead["backbone.proj_fre.weight"] = torch.ones(10, 3)
    return {**state, **dead}


@pytest.mark.parametrize("name", ["sptseg_voc_inductive", "zegclip_voc_inductive"])
def test_published_checkpoints_load_through_the_key_map(make, name):
    model, other = make(name), make(name)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p))
    published = published_names(model)
    report = load_published(other, {"state_dict": published}, "published.pth")
    assert report.complete and report.share == 1.0
    ours, theirs = trained_state(model), trained_state(other)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_published_checkpoint_of_the_other_decoder_is_refused(make):
    published = published_names(make("zegclip_voc_inductive"))
    with pytest.raises(UserError, match="does not fit this config"):
        load_published(make("sptseg_voc_inductive"), published, "zegclip.pth")


def test_unknown_published_names_stay_for_the_report():
    assert rename_published({"head.strange": torch.ones(1)}).keys() == {"head.strange"}


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ["MODEL.SPTSEG.MODE", "induktive"],
            "MODEL.SPTSEG.MODE: 'induktive' is unknown.*Did you mean 'inductive'",
        ),
        (["MODEL.SPTSEG.DECODER.KIND", "kross"], "DECODER.KIND: 'kross'.*Did you mean 'cross'"),
        (["MODEL.SPTSEG.CROP", "33"], "CROP 33 is no multiple of the 8-pixel patches"),
        (["MODEL.SPTSEG.SPECTRAL.LAYERS", "[12]"], "layer 12 does not exist"),
        (["MODEL.SPTSEG.PROMPTS.DEPTH", "12"], "DEPTH 12: the tower has blocks 0..11"),
        (["MODEL.SPTSEG.PIXEL_STATISTICS", "mine"], "PIXEL_STATISTICS: 'mine'"),
        (["MODEL.SPTSEG.LOSS.SSIM_ON", "softmax"], "SSIM_ON: 'softmax'"),
        (["MODEL.SPTSEG.DECODER.HEADS", "7"], "DECODER.HEADS 7 does not divide the joint width"),
        (["MODEL.SPTSEG.DECODER.GATE", "open"], "DECODER.GATE: 'open'.*patches"),
        (["MODEL.SPTSEG.DECODER.LOGITS", "[3.0]"], "LOGITS .* must hold a scale and a bias"),
        (["MODEL.SPTSEG.DECODER.LAYERS", "0"], "DECODER.LAYERS is 0; it must be at least 1"),
    ],
)
def test_wrong_settings(make, options, message):
    with pytest.raises(UserError, match=message):
        make("vitb16", *options)


def test_a_split_that_overlaps_is_refused(make):
    model = make(
        "vitb16",
        "MODEL.SPTSEG.SEEN",
        "['red', 'green', 'blue']",
        "MODEL.SPTSEG.UNSEEN",
        "['blue', 'grey']",
    )
    with pytest.raises(UserError, match=r"\['blue'\] on both sides"):
        model.train()(batch())


def test_another_grid_is_refused(make):
    with pytest.raises(UserError, match="show it in windows of"):
        make().encode(torch.randn(1, 3, 40, 32))


@pytest.mark.parametrize("unseen", [(), (3,), (0, 2)])
def test_one_window_gives_the_labels_of_the_full_probabilities(make, unseen):
    model = make(unseen=unseen).eval()
    torch.manual_seed(4)
    names = [f"thing {i}" for i in range(21)]
    model.set_vocabulary(Vocabulary.from_names(names), unseen=unseen)
    windows = torch.randn(1, 21, 4, 4)
    windows[0, 5] = windows[0, 3]  # equal maps: the lower class wins
    scores = WindowScores(windows, [(0, 0, 32, 32)], (32, 32), (32, 32), model.activate)
    fast = model.finish_windows(scores)
    assert isinstance(fast, ProbabilityWindows)
    torch.testing.assert_close(fast.full(), scores.full())
    labels = fast.labels()
    best, chosen = scores.full().max(dim=0).values, scores.full().gather(0, labels[None])[0]
    torch.testing.assert_close(chosen, best)
    assert not (labels == 5).any()
