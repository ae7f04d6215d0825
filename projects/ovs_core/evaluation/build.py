"""From a dataset's metadata to its evaluators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from ..errors import UserError, check_choice
from ..modeling.contract import TASKS
from .contract import Evaluator
from .instance import OVSInstanceEvaluator
from .mask_ap import OVSMaskAPEvaluator
from .panoptic import OVSPanopticEvaluator
from .semantic import OVSSemSegEvaluator

Classes = tuple[type[Evaluator], ...]

_EVERYTHING: Classes = (OVSPanopticEvaluator, OVSSemSegEvaluator, OVSMaskAPEvaluator)
# Zero-shot splits and background rules come from the metadata, so some types differ in name only.
_types: dict[str, Classes] = {
    "sem_seg": (OVSSemSegEvaluator,),
    "sem_seg_background": (OVSSemSegEvaluator,),
    "sem_seg_zeroshot": (OVSSemSegEvaluator,),
    "coco": (OVSInstanceEvaluator,),
    "coco_panoptic_seg": _EVERYTHING,
    "ade20k_panoptic_seg": _EVERYTHING,
    "cityscapes_panoptic_seg": _EVERYTHING,
    "mapillary_vistas_panoptic_seg": _EVERYTHING,
    "panoptic": (OVSPanopticEvaluator,),
}


def register_evaluator(name: str, *classes: type[Evaluator]) -> None:
    """Make evaluators known under a name for ``evaluator_type`` and ``TEST.EVALUATOR``.

    Args:
        name: a new one.
        classes: what is measured; of several, those whose needs a dataset meets.

    Raises:
        ValueError: if the name is taken, or stands for nothing.
    """
    if name in _types or not classes:
        raise ValueError(f"evaluator_type '{name}' is {'taken' if classes else 'empty'}")
    _types[name] = classes


def evaluator_types() -> Mapping[str, Classes]:
    """What each ``evaluator_type`` measures; a view that cannot be changed."""
    return MappingProxyType(_types)


def build_evaluator(
    dataset_name: str,
    output_dir: str | Path | None = None,
    *,
    evaluator_type: str | None = None,
    dump: bool = False,
    config: str = "",
    tasks: Sequence[str] = TASKS,
) -> DatasetEvaluator:
    """Build the evaluators that a dataset's ``evaluator_type`` stands for.

    Args:
        dataset_name: registered dataset.
        output_dir: where results are written; None writes nothing.
        evaluator_type: takes the place of the metadata's.
        dump: write predictions beside the results.
        config: what is evaluated; carried by the written results.
        tasks: of ``TASKS``: measure these only, for a model that gives no other output.

    Returns:
        The evaluator, or several as one.

    Raises:
        UserError: if the type or a task is unknown, or nothing is left to measure.
    """
    chosen = choose_evaluators(dataset_name, evaluator_type, tasks)
    built = [
        entry(dataset_name, output_dir, config=config, **({"dump": dump} if entry.dumps else {}))
        for entry in chosen
    ]
    return built[0] if len(built) == 1 else DatasetEvaluators(built)


def choose_evaluators(
    dataset_name: str, evaluator_type: str | None = None, tasks: Sequence[str] = TASKS
) -> list[type[Evaluator]]:
    """Say what a dataset is measured by.

    Args:
        dataset_name: as for ``build_evaluator``.
        evaluator_type: as for ``build_evaluator``.
        tasks: as for ``build_evaluator``.

    Raises:
        UserError: as ``build_evaluator``.
    """
    metadata = MetadataCatalog.get(dataset_name)
    kind = evaluator_type or metadata.get("evaluator_type", "sem_seg")
    check_choice(f"evaluator_type of {dataset_name}", kind, _types)
    for task in tasks:
        check_choice("tasks", task, TASKS)
    asked = [entry for entry in _types[kind] if entry.answers in tasks]
    if not asked:
        raise UserError(
            f"{dataset_name}: evaluator_type '{kind}' leaves nothing to measure of a model that "
            f"answers {', '.join(tasks)}; choose another dataset, or switch on an output that it "
            "has truth for"
        )
    chosen = [entry for entry in asked if all(metadata.get(key) for key in entry.needs)]
    if metadata.get("label_class_list"):  # the semantic labels are not of the set's own classes
        chosen = [entry for entry in chosen if entry is not OVSSemSegEvaluator] or chosen
    if not chosen:
        missing = next(key for key in asked[0].needs if not metadata.get(key))
        raise UserError(
            f"{dataset_name}: its metadata has no {missing}, which evaluator_type '{kind}' needs; "
            "choose another TEST.EVALUATOR or another dataset"
        )
    return chosen
