"""Vocabulary embeddings, computed once per machine.

``TextEmbedder`` pools templates and synonyms and remembers each text's embedding in memory and on
disk, keyed by the text tower's fingerprint and the templates. Letters: K classes, E texts (synonyms
of all classes, E >= K), T templates, D joint width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ..files.cache import cache_dir
from ..tensor.placing import place
from ..words.vocabulary import Vocabulary
from .text_encoder import TextEncoder
from .text_store import TextStore

# Prompts that are encoded before their embeddings are written: what an interruption can cost.
PROMPTS_PER_FILE = 512


@dataclass
class _Known:
    """What is known for one text tower and one set of templates: text -> (D,)."""

    store: TextStore | None
    rows: dict[str, Tensor] = field(default_factory=dict)

    def misses(self, texts: Sequence[str]) -> list[str]:
        """Texts that are not known, each once."""
        return [text for text in dict.fromkeys(texts) if text not in self.rows]

    def read(self, texts: Sequence[str]) -> list[str]:
        """Take what the disk has, and give the texts that are not known then."""
        self.rows.update(self.store.load() if self.store else {})
        return self.misses(texts)


class TextEmbedder:
    """Embed vocabularies with a frozen text tower, never twice.

    A method that trains the text tower must not use this class: it encodes in every step.

    Args:
        encoder: the text encoder.
        folder: where results are kept on disk; ``None`` for ``<cache>/text``, ``""`` for memory
            only.
    """

    def __init__(self, encoder: TextEncoder, *, folder: str | Path | None = None) -> None:
        self.encoder = encoder
        self.folder = cache_dir() / "text" if folder is None else (Path(folder) if folder else None)
        self._memory: dict[tuple[str, tuple[str, ...]], _Known] = {}

    def texts(self, texts: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Embed texts: unit vector per template, mean over templates, unit again.

        Args:
            texts: E texts.
            templates: T templates with one ``{}`` each.

        Returns:
            (E, D) unit vectors on the encoder's device.
        """
        known = self._known(templates)
        if known.misses(texts) and known.read(texts):
            with known.store.lock() if known.store else contextlib.nullcontext():
                self._compute(known, known.read(texts), templates)  # some may have come meanwhile
        device = self.encoder.clip.pixel_mean.device
        return torch.stack([known.rows[t] for t in texts]).to(device, non_blocking=True)

    def classes(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        """Embed classes: the mean over synonyms of their text embeddings, made unit again.

        Args:
            vocabulary: K classes.
            templates: T templates.

        Returns:
            (K, D) unit vectors. Use ``texts`` and ``Vocabulary.class_index`` to take the best
            synonym's score instead of the mean embedding.
        """
        per_text = self.texts(vocabulary.texts, templates)
        index = place(vocabulary.class_index, per_text.device)
        sums = per_text.new_zeros(len(vocabulary), per_text.shape[1]).index_add_(0, index, per_text)
        counts = np.bincount(vocabulary.class_index, minlength=len(vocabulary))
        # Left untouched, so that one name is exactly its text.
        single = place(counts == 1, per_text.device).unsqueeze(1)
        return torch.where(single, sums, F.normalize(sums, dim=-1))

    def _known(self, templates: Sequence[str]) -> _Known:
        key = (self.encoder.clip.identity.text_fingerprint, tuple(templates))
        if key not in self._memory:
            width = self.encoder.clip.embed_dim
            store = None if self.folder is None else TextStore(self.folder, key, width)
            self._memory[key] = _Known(store)
        return self._memory[key]

    def _compute(self, known: _Known, texts: list[str], templates: Sequence[str]) -> None:
        """Encode texts file by file, so that an interrupted run goes on where it was."""
        texts = sorted(texts, key=len)  # prompts of one batch are as long as its longest
        step = max(1, PROMPTS_PER_FILE // len(templates))
        with tqdm(total=len(texts), desc="text embeddings", unit="text",
                  disable=len(texts) <= step) as bar:  # fmt: skip
            for start in range(0, len(texts), step):
                chunk = texts[start : start + step]
                prompts = [template.format(text) for text in chunk for template in templates]
                units = self.encoder.encode(prompts, progress=False)
                units = units.view(len(chunk), len(templates), -1)
                rows = F.normalize(units.mean(dim=1), dim=-1).cpu()
                known.rows.update(zip(chunk, rows, strict=True))
                if known.store is not None:
                    known.store.add(chunk, rows)
                bar.update(len(chunk))
