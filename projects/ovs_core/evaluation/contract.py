"""What an evaluator declares, and under which names its figures are given.

Tasks are spelled as everywhere in the suite (``TASKS``). The results that Detectron2's users, tools
and ``TEST.EXPECTED_RESULTS`` read have Detectron2's names; ``RESULT_KEYS`` is the only place where
one becomes the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from ..errors import UserError, check_choice
from ..files.writing import check_output_dir
from ..modeling.contract import TASKS
from .results import Column, Report

OWN_WORDS = "a picture comes with words of its own, as those of its true classes"
# Task -> keys of the results that measure it. Instances are scored by their masks, and by their
# boxes where a set has an annotation file of boxes; of true boxes, by how many are named right.
RESULT_KEYS: Mapping[str, tuple[str, ...]] = {
    "semantic": ("sem_seg",),
    "panoptic": ("panoptic_seg",),
    "instance": ("segm", "bbox", "regions"),
}


class Evaluator(DatasetEvaluator):
    """An evaluator that says what it measures.

    It is built with the arguments below, and ``dump`` too if it ``dumps``; ``register_evaluator``
    makes it known to configs and datasets.

    Args:
        dataset_name: registered dataset.
        output_dir: where results are written; None writes nothing.
        distributed: join what all processes counted; False scores what this process saw.
        config: what is evaluated; carried by the written results.

    Attributes:
        oracle: what the figures know of the truth; they are marked with it.
        protocol: how pictures are shown to the network; the written results say so.
        answers: which of ``TASKS`` it measures.
        needs: keys that a dataset's metadata must have.
        dumps: whether it can write predictions beside the results.
    """

    answers: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    dumps: ClassVar[bool] = False
    oracle: tuple[str, ...] = ()
    protocol: str = ""

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        *,
        distributed: bool = True,
        config: str = "",
    ) -> None:
        self.dataset_name = dataset_name
        self.output_dir = None if output_dir is None else check_output_dir(output_dir)
        self.distributed = distributed
        self.config = config

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

    def publish(
        self,
        *,
        rule: str,
        figures: Mapping[str, float],
        classes: Mapping[str, Column],
        pictures: int,
        notes: Sequence[str] = (),
        stem: str = "",
    ) -> None:
        """Log the table of a result and, with an output folder, write its files; see ``Report``.

        Args:
            rule: how the figures are defined.
            figures: metric -> value.
            classes: column -> one value per class.
            pictures: number of pictures scored.
            notes: further lines.
            stem: begins the names of the files; default ``key``.
        """
        Report(
            key=stem or self.key,
            dataset=self.dataset_name,
            rule=rule,
            figures=figures,
            classes=classes,
            pictures=pictures,
            config=self.config,
            notes=notes,
            oracle=self.oracle,
            protocol=self.protocol,
        ).publish(self.output_dir)

    def counted(self) -> list[Tensor]:
        """What ``process`` has counted: integers that add up over any parts of the pictures.

        Raises:
            UserError: if the figures do not follow from such counts.
        """
        raise UserError(
            f"{self.dataset_name}: {type(self).__name__} looks at all pictures together, and is no "
            "sum of parts; leave --engine ray out, or name another TEST.EVALUATOR"
        )

    def add(self, counts: Sequence[Tensor]) -> None:
        """Add what another evaluator of the same dataset has ``counted`` of other pictures."""
        raise NotImplementedError(f"{type(self).__name__}.add")

    def see_words(self, given: Mapping[str, Any]) -> None:
        """Mark the figures where a test picture comes with words of its own.

        Args:
            given: input dict of the picture.
        """
        if "vocabulary" in given and OWN_WORDS not in self.oracle:
            self.oracle = (*self.oracle, OWN_WORDS)

    def dump_folder(self, name: str) -> Path:
        """Where predictions go, below the results.

        Raises:
            UserError: if no results are written.
        """
        if self.output_dir is None:
            raise UserError("predictions can only be written with an output folder; set output_dir")
        return self.output_dir / name

    def check_some(self, pictures: int) -> None:
        """Refuse an evaluation that saw no picture.

        Raises:
            UserError: if there is none.
        """
        if not pictures:
            raise UserError(
                f"{self.dataset_name}: no picture was evaluated; is the dataset empty, or does the "
                "loader skip everything?"
            )

    def answer_of(self, output: Mapping[str, Any], name: str) -> Any:
        """Take what is measured from a model's output.

        Raises:
            UserError: if it is not there.
        """
        if name not in output:
            raise UserError(
                f"the model gave {sorted(output)}; the evaluator needs '{name}'. Switch the "
                f"model's {self.answers} output on"
            )
        return output[name]


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
