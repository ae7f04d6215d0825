"""Telling contents apart by a short text."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK = 2**20


def digest(content: bytes | str) -> str:
    """Hash bytes, or text as UTF-8.

    Returns:
        32 hexadecimal digits.
    """
    raw = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def file_digest(path: str | Path, *, sha256: bool = False) -> str:
    """Hash what a file holds, block by block: ``digest`` of its bytes.

    Args:
        path: the file.
        sha256: give its SHA-256 instead, which others publish.

    Raises:
        OSError: if it cannot be read.
    """
    state = hashlib.sha256() if sha256 else hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return state.hexdigest()
