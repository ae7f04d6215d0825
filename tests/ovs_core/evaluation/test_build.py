import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from cliptrase import CLIPtraseEvaluator
from ovs_core.errors import UserError
from ovs_core.evaluation import (
    RESULT_KEYS,
    Evaluator,
    OVSInstanceEvaluator,
    OVSMaskAPEvaluator,
    OVSPanopticEvaluator,
    OVSSemSegEvaluator,
    build_evaluator,
    evaluator_types,
    figures_of,
    register_evaluator,
)
from ovs_core.modeling.contract import TASKS

TRUTH = [np.zeros((2, 2), np.uint8)]


def test_type_of_the_metadata_and_its_override(register):
    name = register(TRUTH, 3)
    assert type(build_evaluator(name)) is OVSSemSegEvaluator
    assert type(build_evaluator(name, evaluator_type="cliptrase")) is CLIPtraseEvaluator


# A method that was imported before may have added types of its own.
SEMANTIC = [k for k, parts in evaluator_types().items() if parts == (OVSSemSegEvaluator,)]


@pytest.mark.parametrize("kind", SEMANTIC)
def test_semantic_types(register, kind, tmp_path):
    name = register(TRUTH, 3)
    evaluator = build_evaluator(name, tmp_path, evaluator_type=kind, dump=True, config="a.yaml")
    assert type(evaluator) is OVSSemSegEvaluator and evaluator.config == "a.yaml"
    assert evaluator.predictions.folder == tmp_path / "predictions"


def test_panoptic_type_measures_what_the_data_set_has(register_panoptic):
    categories = [{"id": 1, "isthing": 1}]
    name = register_panoptic([np.array([[1]])], [[{"id": 1, "category_id": 1}]], categories)
    evaluator = build_evaluator(name, evaluator_type="coco_panoptic_seg")
    assert type(evaluator) is OVSPanopticEvaluator  # no stuff_classes, no json_file


def test_semantic_labels_of_another_class_list_are_not_scored(register_panoptic):
    categories = [{"id": 1, "isthing": 1}]
    name = register_panoptic([np.array([[1]])], [[{"id": 1, "category_id": 1}]], categories)
    MetadataCatalog.get(name).set(stuff_classes=["thing"], label_class_list="coco_stuff_171")
    evaluator = build_evaluator(name, evaluator_type="coco_panoptic_seg")
    assert type(evaluator) is OVSPanopticEvaluator


def test_tasks_can_be_chosen(register):
    name = register(TRUTH, 3)
    MetadataCatalog.get(name).panoptic_json = "there.json"
    MetadataCatalog.get(name).panoptic_root = "there"
    options = {"evaluator_type": "ade20k_panoptic_seg", "tasks": ("semantic",)}
    assert type(build_evaluator(name, **options)) is OVSSemSegEvaluator


def test_unknown_type_and_nothing_left(register):
    name = register(TRUTH, 3)
    with pytest.raises(UserError, match="'sem_sec' is unknown. Did you mean 'sem_seg'"):
        build_evaluator(name, evaluator_type="sem_sec")
    with pytest.raises(UserError, match="leaves nothing to measure of a model that answers pan"):
        build_evaluator(name, tasks=("panoptic",))
    with pytest.raises(UserError, match="tasks: 'sem_seg' is unknown.*Choices: semantic, pan"):
        build_evaluator(name, tasks=("sem_seg",))
    with pytest.raises(UserError, match="no panoptic_json, which evaluator_type 'panoptic' needs"):
        build_evaluator(name, evaluator_type="panoptic")


def test_every_evaluator_names_a_task_of_the_suite():
    classes = (OVSSemSegEvaluator, OVSPanopticEvaluator, OVSMaskAPEvaluator, OVSInstanceEvaluator)
    assert [kind.answers for kind in classes] == [*TASKS, "instance"]
    assert tuple(RESULT_KEYS) == TASKS
    with pytest.raises(UserError, match="Odd.answers: 'segm' is unknown"):
        type("Odd", (Evaluator,), {"answers": "segm", "needs": ()})


def test_a_name_is_registered_once_and_the_view_cannot_be_changed():
    with pytest.raises(ValueError, match="'sem_seg' is taken"):
        register_evaluator("sem_seg", OVSSemSegEvaluator)
    with pytest.raises(ValueError, match="'nothing' is empty"):
        register_evaluator("nothing")
    with pytest.raises(TypeError):
        evaluator_types()["mine"] = (OVSSemSegEvaluator,)


def test_figures_of_all_tasks_and_masks_before_boxes():
    found = {"bbox": {"AP": 1.0}, "segm": {"AP": 2.0}, "sem_seg": {"mIoU": 3.0}}
    assert figures_of(found) == {"AP": 2.0, "mIoU": 3.0}
    del found["segm"]
    assert figures_of(found) == {"AP": 1.0, "mIoU": 3.0}
