"""Figures that knew the truth: marked as ``oracle`` wherever they are shown.

A run is marked if its model was shown something of a picture's truth, or if its weights were chosen
by figures of the pictures that it is tested on. Letters: C classes of a dataset, K words of a
model, k words of a picture, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from torch import Tensor, nn

from ..data.build import dataset_dicts
from ..data.labels import load_labels
from ..errors import UserError
from ..modeling.contract import OpenVocabularyModel
from ..words.label_space import IGNORE, label_space
from ..words.vocabulary import Vocabulary
from .contract import RESULT_KEYS, Evaluator
from .inputs import records_by_picture

ORACLE = "oracle"  # the metric that says so in results: 1.0, or not there
TRUTH_WORDS = "the words of a picture are the classes of its truth"


def oracle_reasons(
    model: OpenVocabularyModel, dataset_name: str, *, truth_words: bool = False
) -> tuple[str, ...]:
    """Say why figures of a model on a dataset are marked; nothing for a plain evaluation.

    Args:
        model: with its weights.
        dataset_name: registered dataset that it is evaluated on.
        truth_words: whether it gets the words of each picture's truth alone, by ``TruthWords``.
    """
    chosen = [name for name in model.chosen_on if _shares_pictures(name, dataset_name)]
    reasons = [TRUTH_WORDS] if truth_words else []
    reasons += [model.reads_truth()] if model.reads_truth() else []
    reasons += [f"the weights were chosen by figures on {', '.join(chosen)}"] if chosen else []
    return tuple(reasons)


def marked(
    results: Mapping[str, MutableMapping[str, float]] | None, evaluator: DatasetEvaluator
) -> dict[str, Any]:
    """Add the metric ``oracle`` to the results of an evaluator that has reasons for it.

    Args:
        results: key of a task -> metric -> value; nothing on other processes than the main one.
        evaluator: what gave them.
    """
    found = dict(results or {})
    for one in parts_of(evaluator):
        if one.oracle:
            for key in found.keys() & set(RESULT_KEYS[one.answers]):
                found[key][ORACLE] = 1.0
    return found


def parts_of(evaluator: DatasetEvaluator) -> list[Evaluator]:
    """The evaluators of this suite that one stands for: itself, or those that it joins."""
    joined = isinstance(evaluator, DatasetEvaluators)
    every = evaluator._evaluators if joined else (evaluator,)
    return [one for one in every if isinstance(one, Evaluator)]


class TruthWords(nn.Module):
    """A model that segments each picture with the words of its true classes alone.

    Args:
        model: labels pixels; it has the words of the dataset.
        dataset_name: registered dataset with labels.
    """

    def __init__(self, model: OpenVocabularyModel, dataset_name: str) -> None:
        super().__init__()
        self.model = model
        self.words, self.unseen, self.outside = model.vocabulary, model.unseen, model.outside
        self.space = label_space(dataset_name)
        self._records = records_by_picture(dataset_name)
        metadata = MetadataCatalog.get(dataset_name)
        last = self.space.num_classes - 1
        folds_last = metadata.get("background_rule") == "last_class"
        self._class_of = [
            min(word, last) if folds_last else word for word in range(len(self.words))
        ]

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Segment pictures one by one; outputs are numbered as with all words."""
        try:
            return [self._segment(one) for one in batched_inputs]
        finally:
            self._give(range(len(self.words)))

    def _segment(self, one: dict[str, Any]) -> dict[str, Tensor]:
        kept = self.true_words(self._records[one["file_name"]])
        self._give(kept)
        (output,) = self.model([one])
        return {key: self._renumbered(key, value, kept) for key, value in output.items()}

    def true_words(self, record: Mapping[str, Any]) -> list[int]:
        """Words whose classes are in the truth of a record; all where nothing is labelled."""
        present = set(np.unique(load_labels(record, self.space)).tolist()) - {IGNORE}
        if present & set(self.space.background):
            present |= set(self.space.background)
        kept = [word for word, number in enumerate(self._class_of) if number in present]
        return kept or list(range(len(self.words)))

    def _give(self, kept: Sequence[int]) -> None:
        self.model.set_vocabulary(
            Vocabulary([self.words[i] for i in kept]),
            unseen=[place for place, i in enumerate(kept) if i in self.unseen],
            outside=[place for place, i in enumerate(kept) if i in self.outside],
        )

    def _renumbered(self, key: str, value: Tensor, kept: Sequence[int]) -> Tensor:
        """(H, W) labels or (k, H, W) scores of the kept words -> those of all words."""
        index = torch.tensor(kept, device=value.device)
        if key == "sem_seg_labels":
            return index[value]
        if key != "sem_seg" or len(value) != len(kept):
            raise UserError(
                f"TEST.ORACLE_VOCABULARY: the model gave '{key}' {tuple(value.shape)}; it is for "
                "models that score or label the pixels of a picture by its words"
            )
        full = value.new_full((len(self.words), *value.shape[1:]), float("-inf"))
        return full.index_copy(0, index, value)


def _shares_pictures(first: str, second: str) -> bool:
    """Whether two datasets have a picture in common; of one that is not here the name decides."""
    if first == second:
        return True
    try:
        files = [{record["file_name"] for record in dataset_dicts([n])} for n in (first, second)]
    except UserError:
        return False
    return bool(files[0] & files[1])
