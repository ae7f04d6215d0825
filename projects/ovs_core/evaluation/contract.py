"""What an evaluator declares, and under which names its figures are given.

Tasks are spelled as everywhere in the suite (``TASKS``). The results that Detectron2's users, tools
and ``TEST.EXPECTED_RESULTS`` read have Detectron2's names; ``RESULT_KEYS`` is the only place where
one becomes the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detectron2.evaluation import DatasetEvaluator

from ..errors import check_choice
from ..modeling.contract import TASKS

# Task -> keys of the results that measure it. Instances are scored by their masks, and by their
# boxes where a set has an annotation file of boxes.
RESULT_KEYS: Mapping[str, tuple[str, ...]] = {
    "semantic": ("sem_seg",),
    "panoptic": ("panoptic_seg",),
    "instance": ("segm", "bbox"),
}


class Evaluator(DatasetEvaluator):
    """An evaluator that says what it measures.

    It is made as ``Evaluator(dataset_name, output_dir, config=...)``, with ``dump=...`` too if it
    ``dumps``; ``register_evaluator`` makes it known to configs and datasets.

    Attributes:
        answers: which of ``TASKS`` it measures.
        needs: keys that a dataset's metadata must have.
        dumps: whether it can write predictions beside the results.
    """

    answers: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    dumps: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a class that names no known task.

        Raises:
            UserError: if ``answers`` is none of ``TASKS``.
        """
        super().__init_subclass__(**options)
        check_choice(f"{cls.__name__}.answers", cls.answers, TASKS)

    @property
    def key(self) -> str:
        """Name of the result, which also begins the names of its files."""
        return RESULT_KEYS[self.answers][0]


def figures_of(results: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Join the figures of all tasks; no two tasks give a metric one name.

    Args:
        results: of an evaluation on one dataset: key -> metric -> value.

    Returns:
        Metric -> value. Of instances those of masks, or of boxes where no mask was scored.
    """
    joined: dict[str, float] = {}
    for keys in RESULT_KEYS.values():
        joined |= next((results[key] for key in keys if key in results), {})
    return joined
