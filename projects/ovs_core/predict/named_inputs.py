"""From what a person names on a line to paths: patterns, lists from standard input, addresses."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import UserError
from ..files.addresses import Place, is_remote
from ..files.cache import cache_dir
from ..files.digests import digest
from ..files.network import fetch_file, why_unreachable
from ..files.pictures import SUFFIXES
from .parts import looks_like_result
from .video import SUFFIXES as VIDEO_SUFFIXES

STANDARD_INPUT = "-"
_WEB = re.compile(r"https?://", re.I)


def expand_inputs(named: Sequence[str], *, urls: bool = False) -> list[Place]:
    """Resolve what is named to paths; whether they exist is not looked at.

    Args:
        named: paths; patterns such as ``photos/**/*.jpg``, which a shell may not have resolved
            (what the suite drew fits none); ``-`` for a list from standard input, one name a line;
            addresses.
        urls: whether those of the web (http, https) are taken; pictures and videos go into the
            cache folder.

    Raises:
        UserError: for a pattern that nothing fits, an address without ``urls``, one that cannot be
            fetched, or an empty list.
    """
    return [path for name in _listed(named) for path in _expand(name, urls)]


def _listed(named: Sequence[str]) -> Iterator[str]:
    for name in named:
        if name != STANDARD_INPUT:
            yield name
            continue
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        if not any(lines):
            raise UserError("-: standard input names no picture; give one a line")
        yield from (line for line in lines if line)


def _expand(name: str, urls: bool) -> list[Place]:
    if _WEB.match(name):
        if not urls:
            raise UserError(f"{name}: pictures of the web are fetched with --urls alone")
        return [_fetched(name)]
    if is_remote(name):
        return [name]
    if os.path.lexists(name) or not glob.has_magic(name):
        return [Path(name)]
    found = [p for p in sorted(glob.glob(name, recursive=True)) if not looks_like_result(p)]
    if not found:
        raise UserError(f"{name}: no picture, video or folder fits this pattern")
    return [Path(path) for path in found]


def _fetched(url: str) -> Place:
    """Fetch a picture or video, unless it is here; whatever else it is stays an address."""
    name = Path(unquote(urlsplit(url).path)).name
    if Path(name).suffix.lower() not in (*SUFFIXES, *VIDEO_SUFFIXES):
        return url
    path = cache_dir() / "urls" / digest(url) / name
    if not path.exists():
        if reason := why_unreachable(url):
            raise UserError(f"{url}: {reason}")
        fetch_file(url, path)
    return path
