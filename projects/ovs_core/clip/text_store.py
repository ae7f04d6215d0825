"""Text embeddings on disk: small files of some texts each, added as they are computed.

What is read is checked; what is not what was written is removed and computed again.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..files.cache import cannot_be_kept
from ..files.digests import digest
from ..files.json_files import parse_json
from ..files.locks import wait_for_folder
from ..files.writing import save_safetensors
from .identity import fingerprint

logger = logging.getLogger(__name__)

TENSOR, TEXTS, DIGEST = "embeddings", "texts", "digest"
_UNIT = 1e-3  # how far the length of an embedding may be from 1


class TextStore:
    """The embeddings that one text tower gave with one set of templates.

    A folder that cannot be written costs a warning and the time to compute again.

    Args:
        root: folder of all stores.
        key: what the embeddings depend on besides the text.
        width: length D of an embedding.
    """

    def __init__(self, root: Path, key: Sequence[object], width: int) -> None:
        self.folder = root / digest(json.dumps(list(key)))
        self.width = width
        self._read: set[Path] = set()
        self._writes = True

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process at a time compute; the others wait and then find its results."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(wait_for_folder(self.folder, "an encoding of texts"))
            except OSError as error:
                self._give_up(error)
            yield

    def load(self) -> dict[str, Tensor]:
        """Read the files that have come since the last call: text -> (D,)."""
        found: dict[str, Tensor] = {}
        for path in sorted(set(self.folder.glob("[!.]*.safetensors")) - self._read):
            try:
                found.update(self._rows(path))
            except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
                logger.warning("%s: damaged text cache, computing again (%s)", path, error)
                self._remove(path)
            self._read.add(path)
        return found

    def add(self, texts: Sequence[str], rows: Tensor) -> None:
        """Write the (E, D) embeddings of E texts into a file of their own."""
        if not self._writes:
            return
        listed, rows = json.dumps(list(texts)), rows.contiguous()
        path = self.folder / f"{digest(listed)}.safetensors"
        stated = {TEXTS: listed, DIGEST: fingerprint({listed: rows})}
        try:
            save_safetensors(path, {TENSOR: rows}, stated)
        except OSError as error:
            self._give_up(error)
            return
        self._read.add(path)

    def _rows(self, path: Path) -> dict[str, Tensor]:
        """Read a file whose content is what `add` wrote."""
        with safe_open(path, "pt") as file:
            stated = file.metadata() or {}
            rows = file.get_tensor(TENSOR)
        texts = parse_json(stated[TEXTS])
        if rows.shape != (len(texts), self.width) or rows.dtype != torch.float32:
            raise ValueError(f"holds {rows.dtype} {tuple(rows.shape)} for {len(texts)} texts")
        if not ((rows.norm(dim=-1) - 1).abs() < _UNIT).all():  # NaN is not either
            raise ValueError("an embedding is no unit vector")
        if stated.get(DIGEST) != fingerprint({stated[TEXTS]: rows}):
            raise ValueError("is not what was written, or of an earlier version")
        return dict(zip(texts, rows, strict=True))

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if self._writes:
            logger.warning(cannot_be_kept(self.folder, error, "keeping text embeddings in memory"))
        self._writes = False
