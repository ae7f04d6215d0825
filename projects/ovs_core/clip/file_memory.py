"""Whether a CLIP's weight file still is what it was.

The forms that CLIPs are published in carry no digest of their tensors (zip archives a checksum of
their parts). The embedded files are held against digests that come with them, those of the Hugging
Face cache against the SHA-256 that names them there, all others against what this machine saw when
it first used them. Damage from before that first use cannot be seen.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.cache import cache_dir, cannot_be_kept
from ..files.digests import digest, file_digest
from ..files.json_files import parse_json
from ..files.writing import atomic_write
from .architectures import EMBEDDED_DIR

logger = logging.getLogger(__name__)

DIGESTS = "digests.json"  # of the embedded files
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_file(path: Path, *, sha256: str = "") -> None:
    """Refuse a weight file that is damaged, and tell of one that has changed.

    Args:
        path: the file.
        sha256: how its SHA-256 begins, where a registry states it.

    Raises:
        UserError: if the file is not what was published, or has changed although nothing wrote it.
        OSError: if it cannot be read.
    """
    real = path.resolve()
    if sha256:
        _check_published(path, sha256, file_digest(path, sha256=True)[: len(sha256)])
    elif real.parent == EMBEDDED_DIR.resolve():
        listed = json.loads((EMBEDDED_DIR / DIGESTS).read_text(encoding="utf-8"))
        _check_published(path, listed[real.name], file_digest(path))
    elif real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
        _check_published(path, real.name, file_digest(real, sha256=True))
    else:
        _compare_with_first_use(path, real)


def write_digests() -> None:
    """State what the embedded files are, once they have been trained anew."""
    found = {path.name: file_digest(path) for path in sorted(EMBEDDED_DIR.glob("*.safetensors"))}
    atomic_write(EMBEDDED_DIR / DIGESTS, json.dumps(found, indent=2) + "\n")


def _check_published(path: Path, stated: str, found: str) -> None:
    if found != stated:
        raise UserError(f"{path}: damaged, it is not what was published; fetch it again")


def _compare_with_first_use(path: Path, real: Path) -> None:
    status = real.stat()
    now = {
        "file": str(real),
        "bytes": status.st_size,
        "changed": status.st_mtime_ns,
        "digest": file_digest(real),
    }
    record = cache_dir() / "clip_files" / f"{digest(str(real))}.json"
    before = _read(record)
    if before == now:
        return
    if before and before.get("digest") != now["digest"]:
        if all(before.get(key) == now[key] for key in ("bytes", "changed")):
            raise UserError(
                f"{path}: damaged, its content is not what it was, although nothing has written it "
                f"since; fetch it again, or delete {record} to take it as it is"
            )
        logger.warning(
            "%s: is not the file that was used before; if you did not replace it, fetch it again",
            path,
        )
    try:
        atomic_write(record, json.dumps(now))
    except OSError as error:
        logger.warning(cannot_be_kept(record.parent, error, "damage to CLIP files goes unseen"))


def _read(record: Path) -> dict[str, Any]:
    """Read what was seen at the first use; empty if there was none, or its record is damaged."""
    try:
        content = parse_json(record.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"holds a {type(content).__name__}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s: damaged, making it anew (%s)", record, error)
        return {}
    return content
