"""Panoptic quality against an independent program, and the evaluator around it."""

import json
import time
import warnings

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ovs_core.data.panoptic_png import color_from_segment_ids, read_panoptic_png
from ovs_core.errors import UserError
from ovs_core.evaluation import OVSPanopticEvaluator, PanopticFigures, PanopticMatcher

CATEGORIES = [
    {"id": 3, "isthing": 1, "name": "cat"},
    {"id": 7, "isthing": 1, "name": "dog"},
    {"id": 9, "isthing": 0, "name": "sky"},
]
THINGS, STUFF = [3, 7], [9]


def random_map(rng, size, spread):
    """Ids, their segments, and (category, instance) per pixel; blocks of `spread` pixels."""
    small = rng.integers(0, 6, [-(-n // spread) for n in size])
    blocks = np.kron(small, np.ones((spread, spread), int))[: size[0], : size[1]]
    categories = rng.choice([*THINGS, *STUFF], 6)
    sky = np.flatnonzero(categories == 9)
    if len(sky):  # one segment per stuff category, as in every dataset
        blocks = np.where(np.isin(blocks, sky), sky[0], blocks)
    ids = np.where(blocks == 0, 0, blocks * 1000 + 17)
    coded = np.stack([np.where(blocks == 0, 0, categories[blocks]), blocks], -1)
    coded[np.isin(coded[..., 0], STUFF), 1] = 0
    return ids.astype(np.int32), segments_of(ids, coded), coded


def segments_of(ids, coded):
    first = {int(i): tuple(np.argwhere(ids == i)[0]) for i in np.unique(ids) if i}
    return [{"id": i, "category_id": int(coded[place][0])} for i, place in first.items()]


def oracle():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.detection import PanopticQuality

        return PanopticQuality(
            things={*THINGS},
            stuffs={*STUFF},
            allow_unknown_preds_category=True,
            return_per_class=True,
            return_sq_and_rq=True,
        )


@settings(max_examples=30, deadline=None)
@given(
    pictures=st.integers(1, 3),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    spread=st.integers(1, 12),
    agree=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_equals_torchmetrics(pictures, height, width, spread, agree, seed):
    rng = np.random.default_rng(seed)
    matcher, theirs = PanopticMatcher([3, 7, 9]), oracle()
    for _ in range(pictures):
        truth_ids, truth, truth_coded = random_map(rng, (height, width), spread)
        ids, segments, coded = random_map(rng, (height, width), spread)
        if rng.random() < agree:  # a prediction near the truth, so that there are matches
            ids, coded = truth_ids.copy(), truth_coded.copy()
            ids[: height // 4] = 0
        # Void predictions count otherwise in the oracle, so the rest becomes one more segment.
        coded[ids == 0] = (7, 99)
        ids[ids == 0] = 99
        segments = segments_of(ids, coded)
        matcher.add(truth_ids, truth, ids, segments)
        theirs.update(torch.from_numpy(coded)[None], torch.from_numpy(truth_coded)[None])
    figures = PanopticFigures.of(matcher.counts)
    ours = np.stack([figures.pq, figures.sq, figures.rq], -1)
    expected = theirs.compute().numpy().reshape(3, 3)  # categories x (PQ, SQ, RQ)
    assert np.allclose(ours[figures.counted], expected[figures.counted], atol=1e-6)


def test_counts_do_not_depend_on_the_order_of_pictures():
    rng = np.random.default_rng(0)
    cases = [random_map(rng, (31, 17), 5)[:2] + random_map(rng, (31, 17), 4)[:2] for _ in range(20)]
    forward, backward = PanopticMatcher([3, 7, 9]), PanopticMatcher([3, 7, 9])
    for case in cases:
        forward.add(*case)
    for case in reversed(cases):
        backward.add(*case)
    assert np.array_equal(forward.counts.sums, backward.counts.sums)


def test_ids_beyond_24_bits():
    truth = np.array([[2**24 + 5, 7, 0]])
    listed = [{"id": 2**24 + 5, "category_id": 3}, {"id": 7, "category_id": 9}]
    matcher = PanopticMatcher([3, 7, 9])
    matcher.add(truth, listed, truth, listed)
    assert matcher.counts.sums[0].tolist() == [1, 0, 1]
    with pytest.raises(UserError, match="pixels have id 6, which no segment"):
        matcher.add(truth, listed, np.where(truth == 7, 6, truth), listed)


def test_area_of_the_truth_comes_from_the_list():
    ids = np.array([[1, 1, 0, 0]])
    matcher = PanopticMatcher([3])
    matcher.add(ids, [{"id": 1, "category_id": 3, "area": 3}], ids, [{"id": 1, "category_id": 3}])
    assert matcher.counts.iou.tolist() == pytest.approx([2 / 3])


def test_time_of_one_picture(register_panoptic):
    """At most 20 ms of CPU at 512 x 683; twice that here, because test machines are shared."""
    rng = np.random.default_rng(0)
    ids, segments, _ = random_map(rng, (512, 683), 40)
    evaluator = OVSPanopticEvaluator(register_panoptic([ids], [segments], CATEGORIES))
    output = [{"panoptic_seg": (torch.from_numpy(np.roll(ids, 9)), segments)}]
    times = []
    for _ in range(12):
        start = time.process_time()
        evaluator.process([{"image_id": 0}], output)
        times.append(time.process_time() - start)
    assert min(times) < 0.040


def test_evaluator_and_files(register_panoptic, tmp_path):
    ids = np.array([[1, 1, 2, 2], [1, 1, 70000, 0]])
    segments = [
        {"id": 1, "category_id": 3, "iscrowd": 0, "area": 4},
        {"id": 2, "category_id": 9, "iscrowd": 0, "area": 2},
        {"id": 70000, "category_id": 7, "iscrowd": 0, "area": 1},
    ]
    name = register_panoptic([ids], [segments], CATEGORIES)
    evaluator = OVSPanopticEvaluator(name, tmp_path / "out", dump=True, config="tiny.yaml")
    predicted = torch.tensor([[5, 5, 6, 6], [5, 5, 6, 0]])
    listed = [
        {"id": 5, "category_id": 0, "isthing": True, "score": 0.9},
        {"id": 6, "category_id": 2, "isthing": False},
    ]
    before = [dict(segment) for segment in listed]
    evaluator.process([{"image_id": 0}], [{"panoptic_seg": (predicted, listed)}])
    result = evaluator.evaluate()["panoptic_seg"]
    assert listed == before  # the model's output is not changed
    assert result["PQ_th"] == 50 and result["PQ_st"] == pytest.approx(100 * 2 / 3)
    assert result["PQ"] == pytest.approx((100 + 0 + 200 / 3) / 3)
    assert result["SQ_th"] == 50 and result["PQ-dog"] == 0
    content = json.loads((tmp_path / "out" / "panoptic_seg_evaluation.json").read_text())
    assert content["figures"]["PQ_th"] == 50 and content["classes"]["FN"] == [0, 1, 0]
    written = read_panoptic_png(tmp_path / "out" / "panoptic" / "0.png")
    assert written.tolist() == [[1, 1, 2, 2], [1, 1, 2, 0]]
    (line,) = (tmp_path / "out" / "panoptic" / "predictions.rank0.jsonl").read_text().splitlines()
    assert [s["category_id"] for s in json.loads(line)["segments_info"]] == [3, 9]


def test_coded_prediction_without_a_list(register_panoptic):
    ids = np.array([[1, 1, 2, 0]])
    segments = [{"id": 1, "category_id": 7}, {"id": 2, "category_id": 9}]
    evaluator = OVSPanopticEvaluator(register_panoptic([ids], [segments], CATEGORIES))
    coded = torch.tensor([[1004, 1004, 2000, -1]])  # category * 1000 + instance, contiguous
    evaluator.process([{"image_id": 0}], [{"panoptic_seg": (coded, None)}])
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100


def test_group_without_categories_is_nan(register_panoptic):
    ids = np.array([[1]])
    evaluator = OVSPanopticEvaluator(
        register_panoptic([ids], [[{"id": 1, "category_id": 3}]], CATEGORIES)
    )
    predicted = (torch.tensor([[1]]), [{"id": 1, "category_id": 3}])
    evaluator.process([{"image_id": 0}], [{"panoptic_seg": predicted}])
    result = evaluator.evaluate()["panoptic_seg"]
    assert result["PQ"] == 100 and np.isnan(result["PQ_st"])


def test_png_round_trip(tmp_path):
    ids = np.array([[0, 255, 256], [65536, 2**24 - 1, 1]])
    Image.fromarray(color_from_segment_ids(ids)).save(tmp_path / "a.png")
    assert np.array_equal(read_panoptic_png(tmp_path / "a.png"), ids)
    with pytest.raises(UserError, match="does not fit into the 24 bits"):
        color_from_segment_ids(ids + 1)


# ---- wrong input ----------------------------------------------------------------------------


def wrong(ids, segments, message, truth=((1, 1),), listed=({"id": 1, "category_id": 3},)):
    matcher = PanopticMatcher([3, 7, 9])
    with pytest.raises(UserError, match=message):
        matcher.add(np.array(truth), list(listed), np.array(ids), segments, name="a.png")


def test_maps_and_lists_that_disagree():
    one = [{"id": 1, "category_id": 3}]
    wrong([[1, 2]], one, "a.png: prediction: pixels have id 2, which no segment")
    wrong([[1, 1]], [*one, {"id": 2, "category_id": 3}], "lists segment 2, but no pixel has it")
    wrong([[1, 1]], [*one, *one], "segment ids must be different")
    wrong([[1, 0]], [*one, {"id": 0, "category_id": 3}], "must be different and not 0")
    wrong([[1, 1]], [{"id": 1, "category_id": 4}], "prediction: category 4 is not one of")
    wrong([[1, -1]], one, "must not be negative")
    wrong([[1], [1]], one, r"ground truth is \(1, 2\), the prediction \(2, 1\)")
    wrong([[1, 1]], one, "ground truth: pixels have id 5", truth=[[1, 5]])


def test_evaluator_errors(register_panoptic, tmp_path):
    ids, listed = np.array([[1]]), [{"id": 1, "category_id": 3}]
    name = register_panoptic([ids], [listed], CATEGORIES)
    evaluator = OVSPanopticEvaluator(name)
    with pytest.raises(UserError, match="no picture was evaluated"):
        evaluator.evaluate()
    with pytest.raises(UserError, match="no annotation for image_id 8"):
        evaluator.process([{"image_id": 8}], [{}])
    with pytest.raises(UserError, match="needs 'panoptic_seg'"):
        evaluator.process([{"image_id": 0}], [{"sem_seg": 1}])
    bad = (torch.tensor([[1]]), [{"id": 1, "category_id": 2, "isthing": True}])
    with pytest.raises(UserError, match="thing category 2 is none of the dataset's 2"):
        evaluator.process([{"image_id": 0}], [{"panoptic_seg": bad}])
    Image.new("L", (1, 1)).save(tmp_path / "grey.png")
    with pytest.raises(UserError, match="grey.png: .* this one is of mode L"):
        read_panoptic_png(tmp_path / "grey.png")
    with pytest.raises(UserError, match="missing.png: cannot read"):
        read_panoptic_png(tmp_path / "missing.png")
    with pytest.raises(UserError, match="set output_dir"):
        OVSPanopticEvaluator(name, dump=True)


def test_annotation_file_errors(register_panoptic, tmp_path):
    name = register_panoptic([np.array([[1]])], [[{"id": 1, "category_id": 3}]], CATEGORIES)
    path = MetadataCatalog.get(name).panoptic_json
    content = json.loads(open(path).read())
    content["annotations"] *= 2
    open(path, "w").write(json.dumps(content))
    with pytest.raises(UserError, match=r"annotations\[1\].image_id: 0 occurs more than once"):
        OVSPanopticEvaluator(name)
    open(path, "w").write("{")
    with pytest.raises(UserError, match="cannot read the annotation file"):
        OVSPanopticEvaluator(name)
