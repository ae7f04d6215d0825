"""From a dataset's metadata to its evaluators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from ..errors import UserError, nearest
from .instance import OVSInstanceEvaluator
from .mask_ap import OVSMaskAPEvaluator
from .panoptic import OVSPanopticEvaluator
from .semantic import OVSSemSegEvaluator

Builder = Callable[..., DatasetEvaluator]

_SEMANTIC: tuple[Builder, ...] = (OVSSemSegEvaluator,)
_PANOPTIC: tuple[Builder, ...] = (OVSPanopticEvaluator,)
_EVERYTHING: tuple[Builder, ...] = (OVSPanopticEvaluator, OVSSemSegEvaluator, OVSMaskAPEvaluator)

# What each evaluator_type of a dataset measures. Zero-shot splits and background rules come from
# the metadata, so their types differ in name only.
EVALUATOR_TYPES: dict[str, tuple[Builder, ...]] = {
    "sem_seg": _SEMANTIC,
    "sem_seg_background": _SEMANTIC,
    "sem_seg_zeroshot": _SEMANTIC,
    "coco": (OVSInstanceEvaluator,),
    "coco_panoptic_seg": _EVERYTHING,
    "ade20k_panoptic_seg": _EVERYTHING,
    "cityscapes_panoptic_seg": _EVERYTHING,
    "mapillary_vistas_panoptic_seg": _EVERYTHING,
    "panoptic": _PANOPTIC,
}


def build_evaluator(
    dataset_name: str,
    output_dir: str | Path | None = None,
    *,
    evaluator_type: str | None = None,
    dump: bool = False,
    config: str = "",
    tasks: tuple[str, ...] | None = None,
) -> DatasetEvaluator:
    """Build the evaluators that a dataset's ``evaluator_type`` stands for.

    Args:
        dataset_name: registered dataset.
        output_dir: where results are written; None writes nothing.
        evaluator_type: takes the place of the metadata's.
        dump: write predictions beside the results.
        config: what is evaluated; carried by the written results.
        tasks: of ``semantic``, ``panoptic``, ``instance``: measure these only, for a model that
            gives no other output.

    Returns:
        The evaluator, or several as one.

    Raises:
        UserError: if the type is unknown or nothing is left to measure.
    """
    metadata = MetadataCatalog.get(dataset_name)
    kind = evaluator_type or metadata.get("evaluator_type", "sem_seg")
    if kind not in EVALUATOR_TYPES:
        raise UserError(
            f"{dataset_name}: evaluator_type '{kind}' is unknown.{nearest(kind, EVALUATOR_TYPES)} "
            f"Known: {', '.join(EVALUATOR_TYPES)}"
        )
    chosen = EVALUATOR_TYPES[kind]
    if tasks is not None:
        chosen = tuple(kind for kind in chosen if kind.answers in tasks)
    if len(chosen) > 1:
        chosen = tuple(kind for kind in chosen if all(metadata.get(key) for key in kind.needs))
    if not chosen:
        answers = "" if tasks is None else f" of a model that answers {', '.join(tasks)}"
        raise UserError(
            f"{dataset_name}: evaluator_type '{kind}' leaves nothing to measure{answers}; choose "
            "another dataset, or switch on an output that it has truth for"
        )
    built = [_build(builder, dataset_name, output_dir, dump, config) for builder in chosen]
    return built[0] if len(built) == 1 else DatasetEvaluators(built)


def _build(
    evaluator: Builder, dataset: str, folder: str | Path | None, dump: bool, config: str
) -> DatasetEvaluator:
    # Dumps are of maps; Detectron2's own evaluator writes detections.
    options: dict[str, Any] = {"dump": dump} if evaluator.answers != "instance" else {}
    return evaluator(dataset, folder, config=config, **options)
