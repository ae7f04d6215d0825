"""The text side: synonyms, templates, the void row, and which classes were seen in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import TextEmbedder
from ovs_core.errors import UserError
from ovs_core.words.vocabulary import Vocabulary


def seen_classes(words: Vocabulary, trained: Vocabulary) -> list[bool]:
    """Tell for each class whether one of its texts is, letter for letter, a text of training."""
    known = set(trained.texts)
    return [not known.isdisjoint(entry.synonyms) for entry in words]


def thing_classes(words: Vocabulary, trained: Vocabulary) -> list[bool]:
    """Tell for each class whether its segments are counted one by one.

    A dataset says so. For a person's own words nobody does: a word that training knew as stuff is
    stuff, every other word is a thing.
    """
    stuff = {text for entry in trained if entry.is_thing is False for text in entry.synonyms}
    return [
        stuff.isdisjoint(entry.synonyms) if entry.is_thing is None else entry.is_thing
        for entry in words
    ]


def refuse_synonyms(words: Vocabulary) -> None:
    """Refuse words that are known by several texts each, where a class takes the best of them.

    Raises:
        UserError: names the first such class.
    """
    for entry in words:
        if len(entry.synonyms) > 1:
            raise UserError(
                f"class '{entry.name}' has {len(entry.synonyms)} texts, of which this method takes "
                "the best one; a program of any words takes one text per class"
            )


class TextRows(nn.Module):
    """Rows that vectors are scored against: one per text, and a learned one for "nothing".

    Args:
        dim: joint width E.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.void = nn.Embedding(1, dim)
        self._last: tuple[object, Tensor, tuple[int, ...]] | None = None

    def forward(
        self, words: Vocabulary, templates: Sequence[str], embedder: TextEmbedder
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Give the rows of a vocabulary.

        Args:
            words: K classes with S texts.
            templates: prompts.
            embedder: encodes texts once and remembers them.

        Returns:
            (S + 1, E) unit rows, void last, and the class of each of the S texts.
        """
        texts, index = self._texts(words, templates, embedder)
        return self.with_void(texts), index

    def with_void(self, texts: Tensor) -> Tensor:
        """(S, E) unit rows -> (S + 1, E), void last."""
        return torch.cat([texts, F.normalize(self.void.weight, dim=-1)])

    def _texts(
        self, words: Vocabulary, templates: Sequence[str], embedder: TextEmbedder
    ) -> tuple[Tensor, tuple[int, ...]]:
        clip = embedder.encoder.clip.identity
        key = (words, tuple(templates), embedder, clip, self.void.weight.device)
        if self._last is None or self._last[0] != key:
            # Kept for later steps, so no inference tensor, which training could not use.
            with torch.inference_mode(False), torch.no_grad():
                rows = embedder.texts(words.texts, templates).to(self.void.weight.device)
            self._last = (key, rows, tuple(words.class_index))
        return self._last[1:]
