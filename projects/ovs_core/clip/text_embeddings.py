"""Vocabulary embeddings, computed once per machine.

``TextEmbedder`` pools templates and synonyms and remembers the result in memory and on disk, keyed
by the text tower's fingerprint, the templates and the words. Letters: K classes, E texts (synonyms
of all classes, E >= K), T templates, D joint width.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from ..files import atomic_path
from ..paths import cache_dir
from ..vocabulary import Vocabulary
from .text_encoder import TextEncoder

logger = logging.getLogger(__name__)


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
        self._memory: dict[tuple[str, tuple[str, ...]], dict[str, Tensor]] = {}

    def texts(self, texts: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Embed texts: unit vector per template, mean over templates, unit again.

        Args:
            texts: E texts.
            templates: T templates with one ``{}`` each.

        Returns:
            (E, D) unit vectors on the encoder's device.
        """
        fingerprint = self.encoder.clip.text_fingerprint
        known = self._memory.setdefault((fingerprint, tuple(templates)), {})
        missing = [t for t in dict.fromkeys(texts) if t not in known]
        if missing:
            rows = self._load_or_compute(fingerprint, missing, templates)
            known.update(zip(missing, rows, strict=True))
        return torch.stack([known[t] for t in texts]).to(self.encoder.clip.pixel_mean.device)

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
        index = torch.tensor(vocabulary.class_index, device=per_text.device)
        sums = per_text.new_zeros(len(vocabulary), per_text.shape[1]).index_add_(0, index, per_text)
        counts = torch.bincount(index, minlength=len(vocabulary))
        single = (counts == 1).unsqueeze(1)  # left untouched, so that one name is exactly its text
        return torch.where(single, sums, F.normalize(sums, dim=-1))

    def _load_or_compute(
        self, fingerprint: str, texts: list[str], templates: Sequence[str]
    ) -> Tensor:
        path = self._path(fingerprint, texts, templates)
        if path is not None and path.is_file():
            try:
                return load_file(path)["embeddings"]
            except (SafetensorError, KeyError, OSError) as error:
                logger.warning("%s: damaged text cache, computing again (%s)", path, error)
        prompts = [template.format(text) for text in texts for template in templates]
        units = self.encoder.encode(prompts).view(len(texts), len(templates), -1)
        rows = F.normalize(units.mean(dim=1), dim=-1).cpu()
        if path is not None:
            with atomic_path(path) as part:
                save_file({"embeddings": rows.contiguous()}, part)
        return rows

    def _path(self, fingerprint: str, texts: list[str], templates: Sequence[str]) -> Path | None:
        if self.folder is None:
            return None
        key = json.dumps([fingerprint, list(templates), texts]).encode()
        return self.folder / f"{hashlib.blake2b(key, digest_size=16).hexdigest()}.safetensors"
