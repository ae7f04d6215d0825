import hashlib

import numpy as np
import pytest

from ovs_core.data.embedded import render_object, render_scene, render_stuff
from ovs_core.data.embedded.layout import draw_layout
from ovs_core.data.embedded.scenes import Placement, Plan, paint
from ovs_core.data.embedded.sprites import sprite_for, sprite_levels
from ovs_core.data.embedded.textures import texture_levels
from ovs_core.data.embedded.vocabulary import (
    COLOURS,
    LARGE_NAMES,
    SEMANTIC_NAMES,
    STUFF,
    THINGS,
    is_unseen_pair,
    pair_id,
    synonyms,
    unseen_classes,
    unseen_pairs,
)


def digest(scene):
    parts = (scene.image, scene.semantic, scene.large, scene.panoptic)
    words = "|".join(caption.text for caption in scene.captions)
    return hashlib.sha256(b"".join(p.tobytes() for p in parts) + words.encode()).hexdigest()


def semantic_of(large_name):
    """Index among the 28 names of what one of the 208 names says, without its colour."""
    name = large_name if large_name in STUFF else large_name.split(" ", 1)[1]
    return SEMANTIC_NAMES.index(name)


def test_numbering():
    assert (len(THINGS), len(COLOURS), len(STUFF)) == (20, 10, 8)
    assert len(SEMANTIC_NAMES) == 28 and len(set(LARGE_NAMES)) == 208
    assert LARGE_NAMES[pair_id(THINGS.index("fish"), COLOURS.index("blue"))] == "blue fish"
    assert [semantic_of(name) for name in LARGE_NAMES] == [
        *(thing for thing in range(20) for _ in COLOURS), *range(20, 28)
    ]  # fmt: skip


def test_a_fifth_of_the_pairs_is_unseen_evenly():
    assert len(unseen_pairs()) == 40
    table = np.array([[is_unseen_pair(t, c) for c in range(10)] for t in range(20)])
    assert (table.sum(1) == 2).all() and (table.sum(0) == 4).all()
    assert [SEMANTIC_NAMES[i] for i in unseen_classes()] == ["fish", "bell", "hat", "sand", "stone"]


@pytest.mark.parametrize("render", [render_scene, render_object, render_stuff])
def test_same_seed_same_scene(render):
    assert digest(render(7, (64, 96))) == digest(render(7, (64, 96)))
    assert digest(render(7, (64, 96))) != digest(render(8, (64, 96)))


def test_a_scene_does_not_depend_on_what_was_rendered_before():
    alone = digest(render_scene(21, 80))
    for cache in (sprite_levels, texture_levels):
        cache.cache_clear()
    for seed in range(5):
        render_scene(seed, 64)
    assert digest(render_scene(21, 80)) == alone


@pytest.mark.parametrize("size", [64, (64, 96), (137, 90), 512])
def test_sizes_types_and_ranges(size):
    scene = render_scene(3, size)
    height, width = (size, size) if isinstance(size, int) else size
    assert scene.image.shape == (height, width, 3) and scene.image.dtype == np.uint8
    for labels, top in ((scene.semantic, 28), (scene.large, 208)):
        assert labels.shape == (height, width) and labels.dtype == np.uint8
        assert labels.max() < top


def test_sizes_show_the_same_scene():
    small, large = render_scene(5, 64), render_scene(5, 256)
    agreement = (small.semantic == large.semantic[2::4, 2::4]).mean()
    assert agreement > 0.95
    reduced = large.image.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(reduced - small.image).mean() < 12


def test_labels_agree_with_each_other_and_with_the_segments():
    for seed in range(30):
        scene = render_scene(seed, (72, 96))
        table = np.array([semantic_of(name) for name in LARGE_NAMES])
        assert (table[scene.large] == scene.semantic).all()
        assert {s["id"] for s in scene.segments_info} == set(np.unique(scene.panoptic).tolist())
        assert sum(s["area"] for s in scene.segments_info) == scene.panoptic.size
        for segment in scene.segments_info:
            inside = scene.panoptic == segment["id"]
            assert inside.sum() == segment["area"]
            assert (scene.semantic[inside] == segment["category_id"]).all()
            assert (scene.large[inside] == segment["large_id"]).all()
            assert segment["isthing"] == (segment["category_id"] < 20)


def test_labels_lie_on_their_things():
    """A red heart's pixels are redder than any grass: labels and paint are aligned."""
    pair = (THINGS.index("heart"), COLOURS.index("red"))
    for seed in range(20):
        scene = render_object(seed, 64, pair=pair)
        inside = scene.image[scene.semantic == pair[0]].astype(int)
        assert (inside[:, 0] - inside[:, 1] > 60).mean() > 0.9


def test_captions_say_only_what_is_in_view():
    for seed in range(200):
        scene = render_scene(seed, 64)
        present = {LARGE_NAMES[s["large_id"]] for s in scene.segments_info}
        present |= {SEMANTIC_NAMES[s["category_id"]] for s in scene.segments_info}
        for caption in scene.captions:
            assert set(caption.atoms) <= scene.facts
            for colour in COLOURS:
                if f" {colour} " in f" {caption.text} ":
                    word = caption.text.split(f"{colour} ", 1)[1]
                    named = [t for t in THINGS if word.startswith((t, *synonyms(t)))]
                    assert any(f"{colour} {thing}" in present for thing in named), caption.text


def test_no_caption_names_a_held_out_pair():
    forbidden = []
    for large in unseen_pairs():
        colour, thing = LARGE_NAMES[large].split()
        forbidden += [f"{colour} {word}" for word in (thing, *synonyms(thing))]
    shown = 0
    for seed in range(400):
        scene = render_scene(seed, 64)
        shown += any(s["large_id"] in set(unseen_pairs()) for s in scene.segments_info)
        for caption in scene.captions:
            assert not any(f"{pair} " in f"{caption.text} ".replace(",", " ") for pair in forbidden)
            assert not set(caption.atoms) & set(unseen_pairs())
    assert shown > 50  # they are in the pictures, so the above could have failed


def test_training_pictures_can_leave_held_out_pairs_away():
    for seed in range(200):
        for render in (render_scene, render_object):
            scene = render(seed, 64, unseen_pairs=False)
            assert not {s["large_id"] for s in scene.segments_info} & set(unseen_pairs())
            assert not scene.facts & set(unseen_pairs())


@pytest.mark.parametrize("shift, hidden", [(0.0, True), (0.05, True), (0.3, False)])
def test_an_almost_hidden_thing_is_not_named(shift, hidden):
    """A small red heart under a large blue ball that slides off it."""
    heart, red = THINGS.index("heart"), COLOURS.index("red")
    under = Placement(heart, red, 0.5, 0.5 + shift, 0.24, 0.0, False, 1.0)
    over = Placement(THINGS.index("ball"), COLOURS.index("blue"), 0.5, 0.4, 0.4, 0.0, False, 1.0)
    plan = Plan(1, (2,), draw_layout(np.random.default_rng(0), 1), np.array([[0.4, 0.1, 0.1]]),
                (under, over), np.ones(3, np.float32), 2.0, 11)  # fmt: skip
    scene = paint(plan, 128)
    assert (pair_id(heart, red) not in scene.facts) == hidden
    said = {atom for caption in scene.captions for atom in caption.atoms}
    assert (len(LARGE_NAMES) + heart in said) != hidden


def test_every_thing_is_drawn_and_its_colours_differ():
    for thing in range(len(THINGS)):
        pictures = [np.asarray(sprite_levels(thing, c)[2], np.float32) for c in range(len(COLOURS))]
        coverage = pictures[0][..., 3].mean() / 255
        assert 0.08 < coverage < 0.85, THINGS[thing]
        means = np.array([p[..., :3].sum((0, 1)) / p[..., 3].sum() for p in pictures])
        gaps = np.abs(means[:, None] - means[None]).sum(-1) + 9 * np.eye(len(COLOURS))
        assert gaps.min() > 0.08, THINGS[thing]


def test_sprite_resolution_follows_the_side():
    assert [sprite_for(0, 0, side).width for side in (20, 60, 100, 300)] == [32, 64, 128, 256]
