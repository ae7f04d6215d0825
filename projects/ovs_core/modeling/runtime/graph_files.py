"""Graphs on disk: one file for each part of a model and each size class, written once.

What is read is checked; what is not what was written is written anew.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from ...files.cache import cache_dir, cannot_be_kept, stand_in_cache
from ...files.digests import digest, file_digest
from ...files.json_files import parse_json
from ...files.locks import wait_for_folder
from ...files.writing import atomic_path, write_json

logger = logging.getLogger(__name__)

ROOM = "runtimes"  # in the suite's cache
Write = Callable[[Path], None]


class GraphFiles:
    """The files of one model and engine.

    Args:
        key: what the graphs depend on besides the size class.
    """

    def __init__(self, key: Sequence[object]) -> None:
        self._name = digest(json.dumps(list(key)))

    def get(self, name: str, write: Write) -> Path:
        """Give a graph's file, which is written if it is not there or damaged.

        Args:
            name: of the part and its size class.
            write: makes the file at the path that it is given.
        """
        folder = cache_dir() / ROOM / self._name
        try:
            return _kept(folder, name, write)
        except OSError as error:
            logger.warning(cannot_be_kept(folder, error, "graphs are written for this run alone"))
            return _kept(stand_in_cache() / ROOM / self._name, name, write)


def code_digest(model: nn.Module) -> str:
    """Hash the code of the core and of a model's package, which graphs come from."""
    modules = {sys.modules[name.split(".")[0]] for name in (__name__, type(model).__module__)}
    files: list[Path] = []
    for module in modules:
        own = Path(str(module.__file__))
        files += own.parent.rglob("*.py") if hasattr(module, "__path__") else [own]
    return digest("".join(map(file_digest, sorted(files))))


def _kept(folder: Path, name: str, write: Write) -> Path:
    path = folder / f"{digest(name)}.onnx"
    record = path.with_suffix(".json")
    with wait_for_folder(folder, "a writing of graphs"):
        if not _is_whole(path, record):
            with atomic_path(path) as part:
                write(part)
            write_json(record, {"digest": file_digest(path), "graph": name})
    return path


def _is_whole(path: Path, record: Path) -> bool:
    """Whether a graph is there, and what was written."""
    if not path.exists():
        return False
    try:
        stated = parse_json(record.read_text(encoding="utf-8"))
        whole = isinstance(stated, dict) and stated.get("digest") == file_digest(path)
    except (OSError, ValueError):
        whole = False
    if not whole:
        logger.warning("%s: damaged graph, writing it anew", path)
    return whole
