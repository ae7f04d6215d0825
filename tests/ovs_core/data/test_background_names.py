"""Names of own datasets that are marked as background: learnt apart, scored and shown as one."""

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from PIL import Image

from ovs_core.data import SemanticDatasetMapper, dataset_dicts
from ovs_core.data.checks import check_dataset
from ovs_core.data.labels import load_labels
from ovs_core.errors import UserError
from ovs_core.evaluation import build_evaluator
from ovs_core.evaluation.panoptic import join_background
from ovs_core.words.dataset_words import dataset_vocabulary
from ovs_core.words.label_space import IGNORE, fold_background, label_space

from .annotation_world import (
    registered,
    segments_answer,
    tiny_instances,
    tiny_panoptic,
    train_and_evaluate,
    verdict,
    write_stanza,
    write_world,
)

NAMES = ["car", "background: wall", "tree|bush", "background: sky|heaven", "background: floor"]


@pytest.fixture
def world(tmp_path):
    """Two pictures with labels of all five values and the ignore value."""
    rng = np.random.default_rng(3)
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(2):
        labels = rng.choice([0, 1, 2, 3, 4, 255], (6, 8)).astype(np.uint8)
        Image.fromarray(labels).save(tmp_path / "labels" / f"{number}.png")
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def stanza(world, names=NAMES, **more):
    return write_stanza(world, names, "semantic", labels="labels", **more)


def stored(record):
    return np.asarray(Image.open(record["sem_seg_file_name"])).astype(int)


def folded(labels):
    return np.where(np.isin(labels, (3, 4)), 1, labels)


def test_truth_counts_background_as_the_first_and_training_learns_each(world):
    with registered(stanza(world)) as name:
        record, space = dataset_dicts([name])[0], label_space(name)
        raw = stored(record)
        assert np.array_equal(load_labels(record, space), np.where(raw == 255, IGNORE, folded(raw)))
        learnt = SemanticDatasetMapper(True, augmentations=[])(record)["sem_seg"]
        assert np.array_equal(learnt, np.where(raw == 255, IGNORE, raw))
        words = dataset_vocabulary(MetadataCatalog.get(name))
        assert words.background_index == [1, 3, 4]
        assert words.names == ["car", "wall", "tree", "sky", "floor"]


def test_the_checker_counts_each_value_and_says_what_is_one(world):
    with registered(stanza(world)) as name:
        report = check_dataset(name)
        values = np.concatenate([stored(record).ravel() for record in dataset_dicts([name])])
    assert report.passed and report.histogram.tolist() == np.bincount(values)[:5].tolist()
    assert report.facts["background"] == "wall, sky, floor: one class in scores"


def test_scores_count_it_as_one_class(world):
    rng = np.random.default_rng(0)

    def answer(record, metadata):
        del record, metadata
        given.append(rng.integers(0, 5, (6, 8)))
        return {"sem_seg_labels": torch.from_numpy(given[-1])}

    given = []
    with registered(stanza(world)) as name:
        truth = [stored(record) for record in dataset_dicts([name])]
    results = train_and_evaluate(stanza(world), answer)["sem_seg"]
    true, found = folded(np.stack(truth)), folded(np.stack(given))
    found = np.where(true == 255, 255, found)
    iou = {
        label: 100 * ((true == i) & (found == i)).sum() / ((true == i) | (found == i)).sum()
        for label, i in (("car", 0), ("wall", 1), ("tree", 2))
    }
    assert {k[4:]: v for k, v in results.items() if k.startswith("IoU-")} == pytest.approx(iou)
    assert results["mIoU"] == pytest.approx(np.mean(list(iou.values())))
    assert results["mIoU_union"] == results["mIoU"] and results["classes-absent"] == 0


def test_published_figures_without_background_refuse_it(world):
    with registered(stanza(world)) as name:
        import cliptrase  # noqa: F401  (registers its evaluator)

        with pytest.raises(UserError, match="its names mark background, which CLIPtrase's"):
            build_evaluator(name, evaluator_type="cliptrase")


def test_a_yaml_mapping_is_a_marked_name(world):
    path = stanza(world, ["car", {"background": "wall"}, "tree", {"Background": "sky"}, "floor"])
    with registered(path) as name:
        assert label_space(name).background == (1, 3)
    errors, _ = verdict(stanza(world, ["car", {"ground": "wall"}]))
    assert "a vocabulary holds names, but got {'ground': 'wall'}; put it in quotes" in errors[0]


def test_background_is_on_one_side_of_a_split(world):
    with registered(stanza(world, unseen=["wall", "sky", "floor"])) as name:
        assert label_space(name).unseen == (1, 3, 4)
    errors, _ = verdict(stanza(world, unseen=["sky"]))
    assert "'sky' and 'wall' are background and count as one class, but only the first" in errors[0]


def test_what_is_counted_one_by_one_is_no_background(tmp_path):
    path = write_world(
        tmp_path / "a", tiny_panoptic(), "panoptic", ["cat", "background: dog", "sky"]
    )
    errors, _ = verdict(path)
    assert "names marks 'dog' as background, which is one region, but it is counted" in errors[0]
    path = write_world(tmp_path / "b", tiny_instances(), "instances", ["cat", "background: dog"])
    errors, _ = verdict(path)
    assert "names marks 'dog' as background" in errors[0]


def test_panoptic_quality_has_one_segment_of_background(tmp_path):
    content = tiny_panoptic()
    content["categories"][1]["isthing"] = 0  # dog and sky share the first picture
    names = ["cat", "background: dog", "background: sky"]
    path = write_world(tmp_path, content, "panoptic", names)
    right = segments_answer(tmp_path, ["cat", "dog", "sky"])

    def swapped(record, metadata):
        """Dog for sky and sky for dog, which are one."""
        output = right(record, metadata)
        ids, segments = output["panoptic_seg"]
        labels = output["sem_seg_labels"]
        other = {0: 0, 1: 2, 2: 1}
        moved = [{**s, "category_id": other[s["category_id"]]} for s in segments]
        labels = labels.apply_(other.__getitem__)
        return {**output, "panoptic_seg": (ids, moved), "sem_seg_labels": labels}

    for answer in (right, swapped):
        results = train_and_evaluate(path, answer)
        assert results["panoptic_seg"]["PQ"] == 100
        assert np.isnan(results["panoptic_seg"]["PQ-sky"])
        assert results["sem_seg"]["mIoU"] == 100


def test_joined_segments():
    ids = np.array([[0, 1, 2], [3, 4, 5]])
    listed = [(1, 7), (2, 8), (3, 9), (4, 8), (5, 9)]
    segments = [{"id": i, "category_id": c, "area": i} for i, c in listed]
    segments[4]["iscrowd"] = 1
    joined, found = join_background(ids, segments, [9, 8])
    assert joined.tolist() == [[0, 1, 2], [2, 2, 5]]
    assert found == [
        {"id": 1, "category_id": 7, "area": 1},
        {"id": 5, "category_id": 9, "area": 5, "iscrowd": 1},
        {"id": 2, "category_id": 9, "area": 9},
    ]
    del segments[1]["area"]
    assert "area" not in join_background(ids, segments, [9, 8])[1][2]
    assert join_background(ids, segments, [9]) == (ids, segments)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_folding_changes_no_other_value_and_not_its_input(make):
    labels = make([[0, 1, 2], [3, 65535, 1]])
    assert fold_background(labels, (2, 1)).tolist() == [[0, 2, 2], [3, 65535, 2]]
    assert fold_background(labels, (1,)) is labels and labels.tolist()[0] == [0, 1, 2]
