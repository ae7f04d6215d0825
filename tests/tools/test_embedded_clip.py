"""The training of the embedded CLIPs: what it is shown, what it asks, and that it resumes."""

import json
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedded_clip import render, train
from embedded_clip.batches import bank_spec, load_banks
from embedded_clip.dense import PATHS, Phrases, patch_features
from embedded_clip.losses import contrastive_loss, patch_loss, pooled_loss
from embedded_clip.windows import cut_windows
from ovs_core.clip import ImageEncoder, load_clip
from ovs_core.data.embedded.scenes import render_scene
from ovs_core.data.embedded.vocabulary import (
    COLOURS,
    LARGE_NAMES,
    NUM_ATOMS,
    TEMPLATES,
    THINGS,
    atom_of_stuff,
    atom_of_thing,
    unseen_pairs,
)
from ovs_core.errors import UserError

SCENE, SIDE = (96, 128), 48
HELD_OUT = set(unseen_pairs())


def visible_atoms(scene, window):
    """Atoms in the part of a scene that a window shows, found by its pixels."""
    corners = (scene.image == window.image[0, 0]).all(-1)
    ((y, x),) = [
        (y, x)
        for y, x in np.argwhere(corners)
        if np.array_equal(scene.image[y : y + SIDE, x : x + SIDE], window.image)
    ]
    ids = set(np.unique(scene.panoptic[y : y + SIDE, x : x + SIDE]))
    atoms = set()
    for segment in scene.segments_info:
        if segment["id"] in ids and segment["isthing"]:
            atoms |= {segment["large_id"], atom_of_thing(segment["category_id"])}
        elif segment["id"] in ids:
            atoms.add(atom_of_stuff(segment["category_id"] - len(THINGS)))
    return atoms, len(ids) < len(scene.segments_info)


@pytest.fixture(scope="module")
def windows():
    """Windows with the atoms visible in them, and whether each lacks a part of its scene."""
    found = []
    for seed in range(24):
        scene = render_scene(seed, SCENE)
        for window in cut_windows(seed, SCENE, SIDE, 4, unseen_pairs=True):
            found.append((window, *visible_atoms(scene, window)))
    return found


def test_windows_are_captioned_by_what_is_visible_in_them_alone(windows):
    assert len(windows) > 40 and sum(lacks for *_, lacks in windows) > 20
    for window, visible, _ in windows:
        said = {atom for caption in window.captions for atom in caption.atoms}
        assert said <= set(np.flatnonzero(window.facts)) <= set(np.flatnonzero(window.glimpsed))
        assert set(np.flatnonzero(window.glimpsed)) == visible


def test_windows_never_name_a_held_out_pair_though_they_show_some(windows):
    assert sum(bool(visible & HELD_OUT) for _, visible, _ in windows) > 5
    for window, _, _ in windows:
        for caption in window.captions:
            assert not set(caption.atoms) & HELD_OUT
            assert not any(LARGE_NAMES[pair] in caption.text for pair in HELD_OUT)


def test_phrases_never_name_a_held_out_pair_and_are_what_their_atoms_say():
    clip = load_clip("embedded-vit", "random")
    tokens, atoms = Phrases(clip).draw(np.random.default_rng(0), 160)
    assert not set(atoms.tolist()) & HELD_OUT
    pairs = [LARGE_NAMES[atom] for atom in atoms[28:].tolist()]
    expected = [
        {tuple(row.tolist()) for row in clip.tokenizer([t.format(f"a {pair}") for t in TEMPLATES])}
        for pair in pairs
    ]
    for row, texts in zip(tokens[28:].tolist(), expected, strict=True):
        assert tuple(row) in texts


def test_the_pooled_loss_is_that_of_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(3, 5, 4, generator=generator, dtype=torch.float64) * 2 - 1
    facts = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    pooled = [
        [
            math.log(sum(math.exp(7 * float(s)) for s in scores[b, :, p]) / 5) / 7
            for p in range(4)
        ]
        for b in range(3)
    ]  # fmt: skip

    def entropy(row, true):
        total = sum(math.exp(20 * s) for s in row)
        told = [-math.log(math.exp(20 * s) / total) for s, t in zip(row, true, strict=True) if t]
        return sum(told) / len(told) if told else None

    rows = [entropy(pooled[b], facts[b]) for b in range(3)]
    columns = [entropy([pooled[b][p] for b in range(3)], facts[:, p]) for p in range(4)]
    means = [
        sum(x for x in part if x is not None) / sum(x is not None for x in part)
        for part in (rows, columns)
    ]
    found = pooled_loss(scores, facts, sharpness=7.0, scale=20.0)
    assert float(found) == pytest.approx(sum(means) / 2, rel=1e-6)


def test_the_contrast_of_pictures_and_captions_is_clips_where_each_has_one():
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, 4, 6, generator=generator)
    logits = 10 * torch.nn.functional.normalize(image) @ torch.nn.functional.normalize(text).T
    cross = torch.nn.functional.cross_entropy
    expected = (cross(logits, torch.arange(4)) + cross(logits.T, torch.arange(4))) / 2
    found = contrastive_loss(image, text, torch.tensor(10.0), torch.eye(4))
    assert torch.allclose(found, expected)


def test_a_patch_may_be_anything_in_view_and_nothing_else():
    scores = torch.tensor([[[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]])
    both = patch_loss(scores, torch.tensor([[1.0, 1, 0]]), scale=20.0)
    first = patch_loss(scores, torch.tensor([[1.0, 0, 0]]), scale=20.0)
    last = patch_loss(scores, torch.tensor([[0.0, 0, 1]]), scale=20.0)
    assert float(both) < 1e-6
    assert float(first) == pytest.approx(10, abs=1e-3)  # the second patch is off by 20
    assert float(last) == pytest.approx(40, abs=1e-3)


def test_paths_of_patches_are_those_of_the_methods():
    """Value-only reads no other patch; the self-attentions do, and differ from one another."""
    encoder = ImageEncoder(load_clip("embedded-vit").visual)
    tokens = torch.randn(1, 10, 192, generator=torch.Generator().manual_seed(0))
    moved = tokens.clone()
    moved[:, 5] += 1
    with torch.no_grad():
        found = {path: patch_features(encoder, tokens, path) for path in PATHS}
        after = {path: patch_features(encoder, moved, path) for path in PATHS}
    others = [i for i in range(9) if i != 4]
    changed = {p: not torch.equal(found[p][:, others], after[p][:, others]) for p in PATHS}
    assert changed == {"value": False, "self": True, "recovered": True}
    assert not torch.allclose(found["self"], found["recovered"])


def test_kinds_of_banks():
    plain, window = bank_spec("objects:64", 10), bank_spec("windows:96", 10)
    assert (plain.height, plain.width, plain.scene) == (64, 64, ())
    assert (window.height, window.width, window.scene) == (96, 96, (192, 256))
    assert bank_spec("windows:128:288", 10).scene == (288, 384)


@pytest.mark.parametrize(
    "kind",
    ["scenes:64", "objects", "objects:", "objects:0", "objects:64:192", "windows:big",
     "windows:64:192:2", "windows:-64", "held_out:64"],
)  # fmt: skip
def test_another_kind_of_bank_is_refused(kind):
    with pytest.raises(UserError, match=f"--banks {kind}: not known; write objects:SIDE"):
        bank_spec(kind, 10)


def test_windows_larger_than_their_scenes_are_refused():
    with pytest.raises(UserError, match=r"windows:256: windows of 256 .* write windows:256:256"):
        bank_spec("windows:256", 10)


def test_help_says_that_a_timed_run_does_not_resume_to_the_same_bits(capsys):
    with pytest.raises(SystemExit):
        train.parse_arguments(None, ["--help"])
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "such a run resumes, but not to the same bits" in shown


BANKS = ["objects:32", "windows:64:96"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def command(cache, monkeypatch):
    """Train two steps into a folder, without the costly probe."""
    monkeypatch.setenv("OVSUITE_CACHE", str(cache))
    monkeypatch.setattr(train, "probe", lambda clip: {"probed": 1.0})
    monkeypatch.setattr(render, "_draw_sprites_and_textures", lambda: None)  # those shown suffice

    def run(folder, *options):
        train.main([
            "--output", str(folder), "--steps", "2", "--batch", "8", "--captions", "6", "--banks",
            *BANKS, "--pictures", "16", "--check-every", "1", "--threads", "1", "--workers", "1",
            "--held-out-from", "0.5", "--fp32", *options,
        ])  # fmt: skip
        return load_file(folder / f"{options[options.index('--arch') + 1]}.safetensors")

    return run


def equal(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("arch", ["vit", "convnext"])
def test_a_stopped_training_goes_on_to_the_same_bits(command, arch, tmp_path, monkeypatch):
    whole = command(tmp_path / "whole", "--arch", arch)

    def stop(clip):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train, "probe", stop)
        with pytest.raises(KeyboardInterrupt):
            command(tmp_path / "parts", "--arch", arch)
    first = load_file(tmp_path / "parts" / f"{arch}.safetensors")
    assert not equal(first, whole)
    assert equal(command(tmp_path / "parts", "--arch", arch), whole)
    log = (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2]
    assert set(json.loads(log[0])) == {
        "step", "minutes", "contrast", "pooled", "patches", "probed"
    }  # fmt: skip


def test_a_training_starts_from_given_weights_and_keeps_a_text_tower(command, tmp_path):
    before = command(tmp_path / "vit", "--arch", "vit")
    weights = str(tmp_path / "vit" / "vit.safetensors")
    still = command(tmp_path / "still", "--arch", "vit", "--init", weights, "--lr", "0")
    assert equal(still, before)
    convnext = command(tmp_path / "other", "--arch", "convnext", "--text-from", weights)
    text = [name for name in before if not name.startswith("visual.") and name != "logit_scale"]
    assert text and all(torch.equal(convnext[name], before[name]) for name in text)


def test_drawn_pictures_come_with_what_is_true_of_them(command, cache, tmp_path):
    """Facts are among what is glimpsed, and every caption of a picture is true of it."""
    command(tmp_path, "--arch", "vit")
    args = train.parse_arguments(
        None, ["--output", str(tmp_path), "--banks", *BANKS, "--pictures", "16", "--workers", "1"]
    )
    banks = load_banks(args, load_clip("embedded-vit", "random"))
    assert set(banks) == {*BANKS, "held_out:32"}
    for bank in banks.values():
        drawn = bank.draw(np.random.default_rng(0), 12, short_share=0.5)
        images, facts, glimpsed, tokens, claims = drawn
        assert images.dtype == np.uint8 and len(tokens) == 12
        assert facts.shape[1] == NUM_ATOMS + len(COLOURS)
        assert (facts <= glimpsed).all() and (claims <= facts).all() and claims.any(1).all()
