"""Text embeddings on disk: small files of some texts each, added as they are computed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from iopath.common.file_io import file_lock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..files.writing import atomic_path

logger = logging.getLogger(__name__)

TENSOR, TEXTS = "embeddings", "texts"


class TextStore:
    """The embeddings that one text tower gave with one set of templates.

    Args:
        root: folder of all stores.
        key: what the embeddings depend on besides the text.
    """

    def __init__(self, root: Path, key: Sequence[object]) -> None:
        digest = hashlib.blake2b(json.dumps(list(key)).encode(), digest_size=16)
        self.folder = root / digest.hexdigest()
        self._read: set[Path] = set()

    def lock(self) -> file_lock:
        """Let one process at a time compute; the others wait and then find its results."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return file_lock(str(self.folder / "texts"))

    def load(self) -> dict[str, Tensor]:
        """Read the files that have come since the last call: text -> (D,)."""
        found: dict[str, Tensor] = {}
        for path in sorted(set(self.folder.glob("[!.]*.safetensors")) - self._read):
            try:
                with safe_open(path, "pt") as file:
                    texts = json.loads(file.metadata()[TEXTS])
                    found.update(zip(texts, file.get_tensor(TENSOR), strict=True))
                self._read.add(path)
            except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
                logger.warning("%s: damaged text cache, computing again (%s)", path, error)
        return found

    def add(self, texts: Sequence[str], rows: Tensor) -> None:
        """Write the (E, D) embeddings of E texts into a file of their own."""
        listed = json.dumps(list(texts))
        name = hashlib.blake2b(listed.encode(), digest_size=16).hexdigest()
        path = self.folder / f"{name}.safetensors"
        with atomic_path(path) as part:
            save_file({TENSOR: rows.contiguous()}, part, metadata={TEXTS: listed})
        self._read.add(path)
