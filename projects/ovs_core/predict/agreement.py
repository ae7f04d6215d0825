"""Whether a predictor's engine labels a person's own pictures as eager float32 does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from torch import Tensor

from ..errors import UserError
from ..modeling.runtime import Agreement, measure_agreement
from ..modeling.scores import Size
from ..words.vocabulary import Vocabulary
from .predictor import Predictor
from .reading import Input


def own_agreement(
    predictor: Predictor, words: Vocabulary, inputs: Iterable[Input], count: int
) -> Agreement:
    """Compare labels on the first pictures of a run.

    Args:
        predictor: whose engine is asked about.
        words: of the run.
        inputs: its pictures; one that cannot be read is passed over.
        count: how many are compared.

    Raises:
        UserError: if none can be read.
    """
    predictor.model.set_vocabulary(words)
    return measure_agreement(predictor.model, islice(_shown(predictor, inputs), count))


def _shown(predictor: Predictor, inputs: Iterable[Input]) -> Iterator[tuple[Tensor, Size]]:
    for one in inputs:
        try:
            image = one.load().rgb
        except UserError:  # the run itself says what is wrong with it
            continue
        yield predictor.tensor(image), (image.shape[0], image.shape[1])
