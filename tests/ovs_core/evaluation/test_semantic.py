"""The evaluator on real files, against Detectron2's, and what it says about wrong input."""

import gc
import json
import logging
import time
import tracemalloc

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ovs_core.errors import UserError
from ovs_core.evaluation import OVSSemSegEvaluator


def score(evaluator, predictions, key="sem_seg"):
    records = DatasetCatalog.get(evaluator.dataset_name)
    evaluator.reset()
    for record, prediction in zip(records, predictions, strict=True):
        given = {"file_name": record["file_name"]}
        evaluator.process([given], [{key: torch.as_tensor(prediction)}])
    return evaluator.evaluate()["sem_seg"]


def one_hot(labels, num_classes):
    return torch.nn.functional.one_hot(torch.as_tensor(labels).long(), num_classes).permute(2, 0, 1)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    num_classes=st.integers(1, 30),
    sizes=st.lists(st.tuples(st.integers(1, 25), st.integers(1, 25)), min_size=1, max_size=3),
    ignored=st.floats(0, 1),
    used=st.integers(1, 30),
    seed=st.integers(0, 2**31),
)
def test_equals_detectron2(register, num_classes, sizes, ignored, used, seed):
    rng = np.random.default_rng(seed)
    truths, scores = [], []
    for size in sizes:
        truth = rng.integers(0, min(used, num_classes), size).astype(np.uint8)
        truth[rng.random(size) < ignored] = 255
        truths.append(truth)
        scores.append(torch.from_numpy(rng.standard_normal((num_classes, *size))).float())
    name = register(truths, num_classes)
    theirs = SemSegEvaluator(name, distributed=False)
    theirs.reset()
    for record, value in zip(DatasetCatalog.get(name), scores, strict=True):
        theirs.process([record], [{"sem_seg": value}])
    with np.errstate(invalid="ignore"):
        expected = theirs.evaluate()["sem_seg"]
    ours = score(OVSSemSegEvaluator(name, boundary=True), scores)
    shared = {key for key in expected if not key.startswith("min(")}
    assert "mIoU" in shared and f"BoundaryIoU-class {num_classes - 1}" in shared
    if num_classes > 15:  # their index of a pair has 8 bits and overflows
        shared = {key for key in shared if not key.startswith("Boundary")}
    for key in shared:
        assert ours[key] == pytest.approx(expected[key], abs=1e-9, nan_ok=True), key


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.uint8])
def test_scores_and_labels_give_the_same(register, kind):
    rng = np.random.default_rng(0)
    truth, labels = rng.integers(0, 5, (2, 9, 7)).astype(np.uint8)
    name = register([truth], 5)
    evaluator = OVSSemSegEvaluator(name)
    expected = score(evaluator, [one_hot(labels, 5).float()])
    assert score(evaluator, [labels.astype(kind)]) == expected
    assert score(evaluator, [labels.astype(kind)], key="sem_seg_labels") == expected


def test_tie_goes_to_the_lowest_class(register):
    name = register([np.zeros((4, 4), np.uint8)], 3)
    assert score(OVSSemSegEvaluator(name), [torch.ones(3, 4, 4)])["pACC"] == 100


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_labels(register, suffix):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 847, (20, 30)).astype(np.uint16)
    truth[0] = 65535
    name = register([truth], 847, ignore_label=65535, suffix=suffix)
    prediction = np.where(truth == 65535, 0, truth).astype(np.int16)
    prediction[1] = (prediction[1] + 1) % 847
    assert score(OVSSemSegEvaluator(name), [prediction])["pACC"] == pytest.approx(100 * 18 / 19)


def test_ignore_label_equal_to_the_number_of_classes(register):
    truth = np.array([[0, 1, 2]], np.uint8)
    name = register([truth], 2, ignore_label=2)
    assert score(OVSSemSegEvaluator(name), [np.array([[0, 1, 1]])])["mIoU"] == 100


def test_everything_ignored_warns(register, caplog):
    name = register([np.full((3, 3), 255, np.uint8)], 2)
    with caplog.at_level(logging.WARNING):
        result = score(OVSSemSegEvaluator(name), [np.zeros((3, 3), int)])
    assert np.isnan([result["mIoU"], result["pACC"]]).all() and result["fwIoU"] == 0
    assert "every pixel is ignored" in caplog.text


def test_last_class_rule_folds_extra_words(register):
    truth = np.array([[0, 2, 2, 255]], np.uint8)
    name = register([truth], 3, background_rule="last_class")
    scores = one_hot(np.array([[0, 2, 6, 6]]), 7).float()
    assert score(OVSSemSegEvaluator(name), [scores])["pACC"] == 100
    assert score(OVSSemSegEvaluator(name), [np.array([[0, 2, 6, 1]])])["pACC"] == 100


def test_seen_and_unseen_come_from_the_metadata(register):
    truth = np.array([[0, 1, 2, 2]], np.uint8)
    name = register([truth], 4, seen_classes=(0, 1), unseen_classes=(2,))
    result = score(OVSSemSegEvaluator(name), [np.array([[0, 1, 2, 3]])])
    assert (result["mIoU_S"], result["mIoU_U"]) == (100, 50)
    assert result["hIoU"] == pytest.approx(200 / 3)
    other = score(OVSSemSegEvaluator(name, unseen=[3, 2], seen=[0]), [np.array([[0, 1, 2, 3]])])
    assert other["mIoU_U"] == 25 and other["mIoU_U_gt"] == 50


def test_without_a_split_there_are_no_split_figures(register):
    name = register([np.zeros((2, 2), np.uint8)], 2)
    result = score(OVSSemSegEvaluator(name), [np.zeros((2, 2), int)])
    assert "hIoU" not in result
    assert list(result)[:5] == ["mIoU", "mIoU_union", "fwIoU", "mACC", "pACC"]
    assert (result["classes-absent"], result["classes-zero"]) == (1, 0)


def test_written_results(register, tmp_path):
    name = register([np.array([[0, 1]], np.uint8)], 3)
    out = tmp_path / "out"
    score(OVSSemSegEvaluator(name, out, config="tiny.yaml"), [np.array([[0, 2]])])
    content = json.loads((out / "sem_seg_evaluation.json").read_text())
    assert content["figures"]["mIoU"] == 50 and content["config"] == "tiny.yaml"
    assert content["classes"]["IoU"] == [100, 0, None]
    assert "classes are absent" in content["notes"][0]
    assert (
        (out / "sem_seg_evaluation.csv").read_text().startswith("dataset,task,class,metric,value")
    )
    assert "tiny.yaml" in (out / "sem_seg_evaluation.md").read_text()
    assert sorted(p.suffix for p in out.iterdir()) == [".csv", ".json", ".md"]


def test_dump_writes_one_png_per_picture(register, tmp_path):
    truths = [np.zeros((2, 3), np.uint16)] * 2
    name = register(truths, 300, ignore_label=65535, image_root=str(tmp_path / "images"))
    predictions = [np.array([[0, 1, 299], [2, 3, 4]]), np.zeros((2, 3), int)]
    score(OVSSemSegEvaluator(name, tmp_path / "out", dump=True), predictions)
    for i, prediction in enumerate(predictions):
        with Image.open(tmp_path / "out" / "predictions" / f"{i:03d}.png") as picture:
            assert np.array_equal(np.asarray(picture), prediction)


def test_memory_does_not_grow_with_the_number_of_pictures(register):
    truth = np.zeros((100, 100), np.uint8)
    name = register([truth], 20)
    evaluator, record = OVSSemSegEvaluator(name), DatasetCatalog.get(name)[0]
    prediction = torch.zeros(100, 100, dtype=torch.int16)

    def run(times):
        for _ in range(times):
            evaluator.process([record], [{"sem_seg": prediction}])
        gc.collect()

    run(5)
    tracemalloc.start()
    run(5)
    before = tracemalloc.get_traced_memory()[0]
    run(100)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000  # a hundred label maps take a million bytes


@pytest.mark.parametrize("num_classes", [150, 847])
def test_time_of_one_picture(register, num_classes):
    """At most 15 ms of CPU at 512 x 683; twice that here, because test machines are shared."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, num_classes, (8, 11))
    truth = np.kron(blocks, np.ones((64, 64), int))[:512, :683]
    kind, ignore = (np.uint8, 255) if num_classes < 255 else (np.uint16, 65535)
    suffix = ".png" if num_classes < 255 else ".tif"
    name = register([truth.astype(kind)], num_classes, ignore_label=ignore, suffix=suffix)
    evaluator, record = OVSSemSegEvaluator(name), DatasetCatalog.get(name)[0]
    output = [{"sem_seg_labels": torch.from_numpy(np.roll(truth, 9, 0)).to(torch.int16)}]
    times = []
    for _ in range(12):
        start = time.process_time()
        evaluator.process([record], output)
        times.append(time.process_time() - start)
    assert min(times) < 0.030


# ---- wrong input ----------------------------------------------------------------------------


def test_label_outside_the_range(register):
    name = register([np.array([[0, 7]], np.uint8)], 3)
    with pytest.raises(
        UserError, match=r"000.png: label value 7 is outside 0..2 .*ignore value 255"
    ):
        score(OVSSemSegEvaluator(name), [np.zeros((1, 2), int)])


def test_sizes_differ_even_when_the_number_of_pixels_agrees(register):
    name = register([np.zeros((2, 3), np.uint8)], 3)
    with pytest.raises(
        UserError, match="000.png: the labels are 2 x 3, the prediction .* is 3 x 2"
    ):
        score(OVSSemSegEvaluator(name), [np.zeros((3, 2), int)])


def test_no_picture(register):
    name = register([np.zeros((2, 3), np.uint8)], 3)
    evaluator = OVSSemSegEvaluator(name)
    with pytest.raises(UserError, match=f"{name}: no picture was evaluated"):
        evaluator.evaluate()


def test_broken_label_file(register):
    name = register([np.zeros((40, 40), np.uint8)], 3)
    path = DatasetCatalog.get(name)[0]["sem_seg_file_name"]
    with open(path, "r+b") as file:
        file.truncate(30)
    with pytest.raises(UserError, match="000.png: cannot read the label file"):
        score(OVSSemSegEvaluator(name), [np.zeros((40, 40), int)])


def test_prediction_of_other_classes(register):
    name = register([np.zeros((1, 2), np.uint8)], 3)
    evaluator = OVSSemSegEvaluator(name)
    with pytest.raises(UserError, match="000.jpg: the prediction holds label 3, outside 0..2"):
        score(evaluator, [np.array([[0, 3]])])
    with pytest.raises(UserError, match="holds label -1"):
        score(evaluator, [np.array([[0, -1]])])
    with pytest.raises(UserError, match="scores 5 classes, the dataset has 3"):
        score(evaluator, [torch.zeros(5, 1, 2)])


def test_output_without_a_prediction(register):
    name = register([np.zeros((1, 2), np.uint8)], 3)
    with pytest.raises(UserError, match=r"gave \['instances'\]; the evaluator needs 'sem_seg'"):
        score(OVSSemSegEvaluator(name), [np.zeros((1, 2))], key="instances")
    with pytest.raises(UserError, match="expected scores"):
        score(OVSSemSegEvaluator(name), [torch.zeros(1, 2)])


def test_picture_of_another_data_set(register):
    name = register([np.zeros((1, 2), np.uint8)], 3)
    with pytest.raises(UserError, match="x.jpg: no such picture in dataset"):
        OVSSemSegEvaluator(name).process([{"file_name": "x.jpg"}], [{}])


def test_ignore_value_inside_the_class_range(register):
    name = register([np.zeros((1, 2), np.uint8)], 3, ignore_label=1)
    with pytest.raises(UserError, match="ignore_label 1 lies inside the class range"):
        OVSSemSegEvaluator(name)


def test_labels_of_another_class_list_than_the_words(register):
    name = register([np.zeros((1, 2), np.uint8)], 3, label_class_list="pascal_voc_20")
    with pytest.raises(UserError, match="labels are of another class list with 20 classes"):
        OVSSemSegEvaluator(name)


def test_class_named_twice(register):
    name = register([np.zeros((1, 2), np.uint8)], 2)
    MetadataCatalog.get(name).stuff_classes[1] = "class 0"
    with pytest.raises(UserError, match="'class 0' occurs more than once"):
        OVSSemSegEvaluator(name)


def test_wrong_split(register):
    name = register([np.zeros((1, 2), np.uint8)], 3)
    with pytest.raises(UserError, match=r"different indices in 0..2; wrong: \[1\]"):
        OVSSemSegEvaluator(name, seen=[0, 1], unseen=[1, 2])


def test_boundary_of_a_large_vocabulary(register):
    name = register([np.zeros((1, 2), np.uint16)], 300, ignore_label=65535)
    with pytest.raises(UserError, match="Boundary IoU is defined up to 254 classes"):
        OVSSemSegEvaluator(name, boundary=True)


def test_dump_without_a_folder(register):
    name = register([np.zeros((1, 2), np.uint8)], 3)
    with pytest.raises(UserError, match="set output_dir"):
        OVSSemSegEvaluator(name, dump=True)
