"""What the engine, the predictor and the evaluation ask of any model.

``Segmenter`` meets it for methods that label pixels; a model of another kind, such as a detector,
derives from it directly. Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar

from detectron2.config import CfgNode
from torch import Tensor, nn

from ..clip import CLIP
from ..errors import UserError
from ..words.vocabulary import Vocabulary
from .global_batch import Facts, GlobalBatch

# What can be asked of a picture, spelled the same in models, evaluators, tables and options.
TASKS = ("semantic", "panoptic", "instance")

Words = Vocabulary | str | Sequence[str]


class OpenVocabularyModel(nn.Module):
    """A model whose classes are words that can be changed at any time.

    Attributes:
        clip: the CLIP it stands on; its identity is written into checkpoints.
        trains: whether it has weights of its own to train.
        published_whole: whether a published checkpoint must match to the last tensor; else most of
            the trained ones are enough, and strange ones are left out.
        keeps: prefixes of the names of frozen parts that checkpoints hold as they do trained ones,
            because nothing else has them.
        unseen: indices of the current classes that have no training pixels.
        outside: indices of the current classes that take no part.
        chosen_on: datasets by whose figures its weights were chosen among others.
        rates: beginning of the names of parameters -> factor on their learning rates, beside those
            that the config states.
        part: what is known of a training step of which this batch is a part; None if it is all of
            it.
    """

    clip: CLIP
    trains: ClassVar[bool] = False
    published_whole: ClassVar[bool] = False
    keeps: ClassVar[tuple[str, ...]] = ()
    unseen: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()
    chosen_on: tuple[str, ...] = ()
    rates: Mapping[str, float] = MappingProxyType({})
    part: GlobalBatch | None = None
    _vocabulary: Vocabulary | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The current words.

        Raises:
            UserError: if none were set.
        """
        if self._vocabulary is None:
            raise UserError("the model has no words yet; call set_vocabulary first")
        return self._vocabulary

    @property
    def answers(self) -> tuple[str, ...]:
        """Which of ``TASKS`` the outputs can be measured by."""
        return ("semantic",)

    def set_vocabulary(
        self, words: Words, *, unseen: Sequence[int] = (), outside: Sequence[int] = ()
    ) -> None:
        """Choose the words; text features are computed when they are first needed.

        Args:
            words: see ``Vocabulary.parse``.
            unseen: indices of the classes that have no training pixels or boxes.
            outside: indices of classes of the dataset that take no part, neither as seen nor as
                unseen.

        Raises:
            UserError: for words that cannot be used, or an index without a class.
        """
        vocabulary = Vocabulary.parse(words)
        for key, indices in (("unseen", unseen), ("outside", outside)):
            wrong = [index for index in indices if not 0 <= index < len(vocabulary)]
            if wrong:
                raise UserError(
                    f"{key} class {wrong[0]} does not exist; there are {len(vocabulary)} words"
                )
        self._vocabulary = vocabulary
        self.unseen, self.outside = tuple(unseen), tuple(outside)

    def reads_truth(self) -> str:
        """Say what of a test picture's truth the model is shown; ``""`` for nothing."""
        return ""

    def protocol_text(self) -> str:
        """How test pictures are shown to the network, in a line; ``""`` if nothing says."""
        return ""

    def facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """What a loss must know of each picture before any picture of the step is trained on.

        A loss that is a mean over pictures needs none. Otherwise the losses of a part are such that
        their mean over all parts, weighted by pictures, is the loss of the step; see ``part``.

        Args:
            batched_inputs: samples of a part.
        """
        return [{} for _ in batched_inputs]

    @property
    def starting(self) -> bool:
        """Whether the model still takes its start from the first step, by ``starting_facts``."""
        return False

    def starting_facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """What a start must know of each picture of a training's first step, before ``facts``.

        Args:
            batched_inputs: samples of a part.
        """
        return [{} for _ in batched_inputs]

    @contextmanager
    def part_of(self, batch: GlobalBatch | None) -> Iterator[None]:
        """Let the losses inside the block be those of a part of a step."""
        self.part = batch
        try:
            yield
        finally:
            self.part = None

    def check_split(self, pictures: int, accumulate: int) -> None:
        """Refuse a training whose batch is split in a way that its recipe does not allow.

        Args:
            pictures: of a part.
            accumulate: parts of each process.

        Raises:
            UserError: names the key.
        """

    @classmethod
    def sharding_obstacle(cls, cfg: CfgNode) -> str:
        """Say why no weights are shared out over processes, of a config; ``""`` if some can be."""
        return f"{cls.__name__} has no tower that trains whole"

    def shards(self) -> list[nn.Module]:
        """Parts whose weights can be shared out: each runs by its own ``forward`` alone."""
        return []

    def begin_training(self) -> None:
        """Take what only a training begins from; before weights are loaded, which win.

        A training that goes on from a checkpoint is not begun.

        Raises:
            UserError: if a file that the config names cannot be used.
        """

    def run_state(self) -> dict[str, Any]:
        """What a training remembers beside weights; goes into checkpoints of a run."""
        return {}

    def load_run_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``run_state`` gave."""

    def rename_published(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bring a checkpoint of the published code to this model's names.

        Args:
            tensors: published name -> tensor.

        Raises:
            UserError: if the method knows no other code's names, or these are not its own.
        """
        raise UserError(f"no checkpoint of this suite, and {type(self).__name__} reads no others")


def bare(model: nn.Module) -> OpenVocabularyModel:
    """A model that Detectron2 hands on, as what it is."""
    assert isinstance(model, OpenVocabularyModel), f"{type(model).__name__} breaks the contract"
    return model
