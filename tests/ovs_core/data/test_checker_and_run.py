"""What the dataset check calls good trains and evaluates; what it refuses the run refuses."""

import copy
import itertools
import json
import logging
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ovs_core.errors import UserError

from .annotation_world import (
    boxes_answer,
    segments_answer,
    tiny_instances,
    tiny_panoptic,
    train_and_evaluate,
    verdict,
    write_stanza,
    write_world,
)

_numbers = itertools.count()
CATS, PANOPTIC_NAMES = ["cat", "dog"], ["cat", "dog", "sky"]
QUIET = settings(
    deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)

# What other programs and mistakes put in the place of a value.
JUNK = st.one_of(
    st.sampled_from(
        [None, True, "", "x", "1", "2", [], {}, [1], {"a": 1}, math.nan, math.inf, -1, 0, 1, 2, 3,
         5, 1.5, 2.0, 10**6, 10**30, 1e300, "\ud800", "../1.png", "2.png"]
    ),
    st.integers(-3, 400),
    st.lists(st.integers(-5, 40), max_size=8),
    st.fixed_dictionaries(
        {"size": st.just([20, 30]), "counts": st.lists(st.integers(0, 600), max_size=4)}
    ),
    st.fixed_dictionaries({"size": st.just([20, 30]), "counts": st.text("0123`o~PT", max_size=8)}),
)  # fmt: skip


def places(value, path=()):
    """Every place of a JSON value, deepest included."""
    yield path
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, child in value.items() if isinstance(value, dict) else ():
        yield from places(child, (*path, key))


@st.composite
def mutations(draw, content):
    """A JSON value with one or two places removed, replaced, doubled or moved."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 2))):
        chosen = draw(st.sampled_from([path for path in places(content) if path]))
        *path, last = chosen
        holder = content
        for key in path:
            holder = holder[key]
        kind = draw(st.sampled_from(["remove", "replace", "replace", "replace", "double"]))
        if kind == "remove":
            del holder[last]
        elif kind == "replace" or not isinstance(holder, list):
            holder[last] = copy.deepcopy(draw(JUNK))  # the next one may change it
        else:
            holder.append(copy.deepcopy(holder[last]))
    return content


def held_together(stanza, answer):
    """Ask both sides; gives the error of both, or None and the results of evaluation."""
    errors, _ = verdict(stanza)
    try:
        results = train_and_evaluate(stanza, answer)
    except UserError as error:
        assert str(error) in errors, (str(error), errors)
        return str(error), None
    assert not errors, errors
    return None, results


def expected_ap50(content, objects):
    """AP50 of each class by hand: boxes of one score, at most one of a class per picture."""
    files = {str(one["id"]).removesuffix(".0"): one["file_name"] for one in content["images"]}
    named = {int(one["id"]): one["name"] for one in content["categories"]}
    truth = []
    for one in content["annotations"]:
        box = one.get("bbox")
        mask = one.get("segmentation")
        if box is None and isinstance(mask, dict):
            return None  # measured from run lengths; scored elsewhere
        if box is None:
            xs, ys = mask[0][::2], mask[0][1::2]
            box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
        crowd = one.get("iscrowd", 0) in (1, True, "1")
        if crowd or len(mask or [[]]) > 1 or (mask and len(mask[0]) < 6 if mask else False):
            return None
        if min(box[2:]) > 0:
            file = files[str(one["image_id"]).removesuffix(".0")]
            truth.append((file, named[int(one["category_id"])], box))
    return {
        name: average_precision(
            [t for t in truth if t[1] == name], [o for o in objects if o[1] == name]
        )
        for name in CATS
    }


def average_precision(truth, found):
    """AP at IoU 0.5 with 101 recall steps; boxes of one score count in their order."""
    if not truth:
        return math.nan
    taken, hits = set(), []
    for file, _, box in found:
        overlaps = [
            (iou(box, other), place)
            for place, (where, _, other) in enumerate(truth)
            if where == file and place not in taken
        ]
        best, place = max(overlaps, default=(0, -1))
        hits.append(best >= 0.5)
        if hits[-1]:
            taken.add(place)
    recall = np.cumsum(hits) / len(truth)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    steps = [
        max((p for r, p in zip(recall, precision, strict=True) if r >= step), default=0)
        for step in np.linspace(0, 1, 101)
    ]
    return 100 * float(np.mean(steps))


def iou(one, other):
    (ax, ay, aw, ah), (bx, by, bw, bh) = one, other
    wide = min(ax + aw, bx + bw) - max(ax, bx)
    high = min(ay + ah, by + bh) - max(ay, by)
    shared = max(wide, 0) * max(high, 0)
    return shared / (aw * ah + bw * bh - shared)


@pytest.fixture(scope="module")
def instances(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instances")
    return folder, write_world(folder, tiny_instances(), "instances", CATS)


@pytest.fixture(scope="module")
def panoptic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panoptic")
    return folder, write_world(folder, tiny_panoptic(), "panoptic", PANOPTIC_NAMES)


def mutated_instances(world, content):
    """Hold both sides together on an instance file, and the figures against those by hand."""
    folder, stanza = world
    (folder / "annotations.json").write_text(json.dumps(content))
    objects = [
        ("1.png", "cat", [2, 3, 10, 8]),
        ("1.png", "dog", [15, 5, 9, 9]),
        ("2.png", "cat", [0, 0, 30, 20]),
    ]
    error, results = held_together(stanza, boxes_answer(objects, CATS))
    if error is not None:
        assert "\n" not in error and str(folder) in error and "KeyError" not in error
        return False
    expected = expected_ap50(content, objects)
    known = [value for value in (expected or {}).values() if not math.isnan(value)]
    if known:
        assert results["bbox"]["AP50"] == pytest.approx(np.mean(known), abs=1e-6)
    return True


def mutated_panoptic(world, content):
    """Likewise of a panoptic file."""
    folder, stanza = world
    (folder / "annotations.json").write_text(json.dumps(content))
    error, results = held_together(stanza, segments_answer(folder, PANOPTIC_NAMES))
    if error is not None:
        assert "\n" not in error and str(folder) in error and "KeyError" not in error
        return False
    expected = expected_quality(folder, content)
    assert results["panoptic_seg"]["PQ"] == pytest.approx(100 * expected, abs=1e-9, nan_ok=True)
    return True


def read_ids(path):
    rgb = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def expected_quality(folder, content):
    """PQ by hand, with the good file as prediction."""
    good = json.loads((folder / "good.json").read_text())
    guessed = {one["file_name"]: one["segments_info"] for one in good["annotations"]}
    names = {int(c["id"]): c["name"] for c in content["categories"]}
    theirs = {c["id"]: c["name"] for c in good["categories"]}
    counts = {name: [0.0, 0, 0, 0] for name in PANOPTIC_NAMES}  # IoU, matches, misses, too many
    for one in content["annotations"]:
        ids = read_ids(folder / "segments" / one["file_name"])
        found = {s["id"]: theirs[s["category_id"]] for s in guessed[one["file_name"]]}
        matched, crowds = set(), {}
        for segment in one["segments_info"]:
            own, name = int(segment["id"]), names[int(segment["category_id"])]
            drawn = ids == own
            if segment.get("iscrowd") in (1, 1.0, True, "1"):
                crowds[name] = own
                continue
            area = segment.get("area")
            area = int(drawn.sum()) if area is None else area
            # Prediction and truth are drawn alike, so that a segment meets itself or nothing.
            hit = drawn.any() and found.get(own) == name and drawn.sum() / area > 0.5
            counts[name][0] += drawn.sum() / area if hit else 0
            counts[name][1 if hit else 2] += 1
            matched |= {own} if hit else set()
        for own, name in found.items():
            if own not in matched and crowds.get(name) != own:
                counts[name][3] += 1
    known = [c for c in counts.values() if sum(c[1:])]
    return np.mean([c[0] / (c[1] + c[2] / 2 + c[3] / 2) for c in known]) if known else math.nan


def both_verdicts(check, examples, count):
    """Check ``count`` examples, which gives whether each is good; both verdicts must occur."""
    seen = set()

    @settings(QUIET, max_examples=count)
    @given(examples)
    def body(example):
        seen.add(check(example))

    logging.disable(logging.CRITICAL)
    try:
        body()
    finally:
        logging.disable(logging.NOTSET)
    assert seen == {True, False}


def mutate(world, check, content, count):
    """Run ``count`` mutations; both verdicts must occur."""
    both_verdicts(partial(check, world), mutations(content), count)


def test_some_mutated_instance_files(instances):
    mutate(instances, mutated_instances, tiny_instances(), 40)


def test_some_mutated_panoptic_files(panoptic):
    mutate(panoptic, mutated_panoptic, tiny_panoptic(), 40)


@pytest.mark.slow
def test_a_thousand_mutated_instance_files(instances):
    mutate(instances, mutated_instances, tiny_instances(), 1000)


@pytest.mark.slow
def test_a_thousand_mutated_panoptic_files(panoptic):
    mutate(panoptic, mutated_panoptic, tiny_panoptic(), 1000)


@st.composite
def label_worlds(draw):
    """Two pictures, their label maps, and what a stanza says of them."""
    count = draw(st.integers(1, 4))
    ignore = draw(st.sampled_from([None, 255, 254, count, count - 1, 0]))
    values = st.sampled_from([*range(count), ignore or 255, draw(st.integers(0, 300))])
    pictures = []
    for _ in range(2):
        shape = (draw(st.integers(2, 5)), draw(st.integers(2, 5)))
        same = draw(st.integers(0, 5)) > 0
        pictures.append(
            {
                "shape": shape,
                "labels": [draw(values) for _ in range(shape[0] * shape[1])],
                "label_shape": shape if same else shape[::-1],
                "mode": draw(
                    st.sampled_from(["L"] * 7 + ["P", "1", "I;16", "RGB", "cut", "gone", "exif"])
                ),
                "picture": draw(
                    st.sampled_from(
                        ["good"] * 6 + ["cut", "end", "exif 3", "exif 5", "exif 6", "no"]
                    )
                ),
            }
        )
    rule = draw(st.sampled_from([None] * 3 + ["zero_is_ignore"]))
    marked = draw(st.sets(st.integers(0, count - 1), max_size=count - 1))  # as background
    return count, ignore, rule, marked, pictures


def write_labels(folder, world):
    """Write a drawn world; gives the path of its YAML."""
    count, ignore, rule, marked, pictures = world
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number, one in enumerate(pictures):
        write_picture(folder / "images" / f"{number}.png", one)
        write_label(folder / "labels" / f"{number}.png", one)
    stanza = {"labels": "labels"}
    stanza |= {} if ignore is None else {"ignore": ignore}
    stanza |= {} if rule is None else {"label_rule": rule}
    names = [f"background: w{i}" if i in marked else f"w{i}" for i in range(count)]
    return write_stanza(folder, names, "semantic", **stanza)


def write_picture(path, one):
    exif = Image.Exif()
    if one["picture"].startswith("exif"):
        exif[0x0112] = int(one["picture"][-1])
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (*one["shape"], 3), np.uint8)).save(path, exif=exif)
    if one["picture"] in ("cut", "end"):
        path.write_bytes(path.read_bytes()[: 60 if one["picture"] == "cut" else -20])
    elif one["picture"] == "no":
        path.write_text("no picture")


def write_label(path, one):
    values = np.array(one["labels"]).reshape(one["label_shape"])
    if one["mode"] == "I;16":
        Image.fromarray(values.astype(np.uint16)).save(path)
        return
    picture = Image.fromarray((values % 256).astype(np.uint8))
    if one["mode"] == "P":
        picture.putpalette([level for i in range(256) for level in (i, 255 - i, 7)])
    elif one["mode"] in ("1", "RGB"):
        picture = picture.point(lambda v: 255 * (v > 0)).convert(one["mode"])
    exif = Image.Exif()
    if one["mode"] == "exif":
        exif[0x0112] = 3
    if one["mode"] != "gone":
        picture.save(path, exif=exif)
    if one["mode"] == "cut":
        path.write_bytes(path.read_bytes()[:60])


def constant(record, metadata):
    """The first class everywhere."""
    del metadata
    with Image.open(record["sem_seg_file_name"]) as labels:
        width, height = labels.size
    return {"sem_seg_labels": torch.zeros(height, width, dtype=torch.int64)}


def check_label_worlds(tmp_path, count):
    def check(world):
        stanza = write_labels(tmp_path / str(next(_numbers)), world)
        error, results = held_together(stanza, constant)
        if results is not None:
            assert results["sem_seg"]["pACC"] == pytest.approx(share_of_first(world), nan_ok=True)
        return error is None

    both_verdicts(check, label_worlds(), count)


def share_of_first(world):
    """Pixels of the first class among those that count, in percent."""
    _, ignore, rule, marked, pictures = world
    first = marked if 0 in marked else {0}  # all background counts as its first class
    hits = known = 0
    for one in pictures:
        values = np.array(one["labels"])
        if one["mode"] != "I;16":
            values = values % 256
        if one["mode"] == "1":
            values = (values > 0).astype(int)
        if rule:
            values = np.where((values == 0) | (values == 255), 255, values - 1)
        counted = values != (255 if ignore is None else ignore)
        hits, known = (
            hits + int((np.isin(values, list(first)) & counted).sum()),
            known + int(counted.sum()),
        )
    return 100 * hits / known if known else math.nan


def test_some_sets_of_label_maps(tmp_path):
    check_label_worlds(tmp_path, 60)


@pytest.mark.slow
def test_many_sets_of_label_maps(tmp_path):
    check_label_worlds(tmp_path, 1000)
