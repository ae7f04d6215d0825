"""Fetching files, and knowing within two seconds that there is no way to them."""

from __future__ import annotations

import hashlib
import queue
import socket
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import urlsplit

from tqdm import tqdm

from ..errors import UserError
from .writing import atomic_binary

PATIENCE = 1.8  # seconds
_STALLED = 30.0  # seconds without a byte
_BLOCK = 2**20


def why_unreachable(url: str, seconds: float = PATIENCE) -> str:
    """Say why an address cannot be reached; "" if it answers, or is there and slow.

    Libraries that fetch try again and again where there is no network, which takes a minute.

    Args:
        url: http or https.
        seconds: after which a machine that has not been reached counts as unreachable.
    """
    host = urlsplit(url).hostname or url
    news: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None: the machine is there

    def ask() -> None:
        try:
            # Half for an address of IPv6 that leads nowhere, half for one of IPv4.
            socket.create_connection(_first_hop(url), timeout=seconds / 2).close()
            news.put(None)
            _open(url, "HEAD", seconds).close()
            news.put("")
        except urllib.error.HTTPError:  # an answer; what it means is for whoever fetches
            news.put("")
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            news.put(f"{host} cannot be reached ({reason})")

    threading.Thread(target=ask, daemon=True).start()
    try:
        first = news.get(timeout=seconds * 0.8)
    except queue.Empty:
        return f"{host} cannot be reached (no answer)"
    if first is not None:
        return first
    try:
        return news.get(timeout=seconds * 0.2) or ""
    except queue.Empty:
        return ""


def fetch_file(url: str, path: Path, *, sha256: str = "", progress: bool = True) -> tuple[int, str]:
    """Fetch a file; it stands at its place only once it is whole.

    Args:
        url: http or https.
        path: where it goes; folders are made.
        sha256: how its SHA-256 begins; "" if nobody states it.
        progress: show a bar.

    Returns:
        Its size in bytes, and its SHA-256.

    Raises:
        UserError: if it cannot be fetched, ends early, or is not what was published.
        OSError: if it cannot be written.
    """
    with atomic_binary(path) as file:
        size, found = _fetch(url, file, path.name if progress else "")
        if not found.startswith(sha256):
            raise UserError(
                f"{url}: is not what was published (SHA-256 {found[: max(len(sha256), 12)]}... "
                f"instead of {sha256}); it was not kept; fetch it again, or from elsewhere"
            )
    return size, found


def _fetch(url: str, file: BinaryIO, title: str) -> tuple[int, str]:
    """Write what an address gives to a file: its size, and its SHA-256."""
    state, size = hashlib.sha256(), 0
    try:
        answer = _open(url, "GET", _STALLED)
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f"{url}: cannot be fetched ({error})") from error
    with answer:
        stated = answer.headers.get("Content-Length", "")  # type: ignore[attr-defined]
        total = int(stated) if stated.isdecimal() else None
        with tqdm(
            total=total, desc=title, unit="B", unit_scale=True, unit_divisor=1024, disable=not title
        ) as bar:
            while block := _read(answer, url):
                file.write(block)
                state.update(block)
                size += len(block)
                bar.update(len(block))
    if total is not None and size != total:
        raise UserError(f"{url}: ended after {size} of {total} bytes; fetch it again")
    return size, state.hexdigest()


def _read(answer: IO[bytes], url: str) -> bytes:
    try:
        return answer.read(_BLOCK)
    except (OSError, HTTPException) as error:
        raise UserError(f"{url}: broke off ({error}); fetch it again") from error


def _open(url: str, method: str, timeout: float) -> IO[bytes]:
    """Ask for an address; the proxies of this moment, which urllib would look up only once."""
    _check_scheme(url)
    request = urllib.request.Request(url, method=method, headers={"User-Agent": "ovsuite"})
    answer: IO[bytes] = urllib.request.build_opener().open(request, timeout=timeout)
    return answer


def _check_scheme(url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):  # urllib would read files, too
        raise ValueError(f"'{url}' is no address of http or https")


def _first_hop(url: str) -> tuple[str, int]:
    """Machine and port that a request goes to first: the proxy's, if there is one for it."""
    _check_scheme(url)
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        return parts.hostname or "", parts.port or 80
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
