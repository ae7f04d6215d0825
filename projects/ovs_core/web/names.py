"""Under which names the page may be asked for, and which origins are its own."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ANY_ADDRESS = ("0.0.0.0", "::")
_NETLOC = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", re.ASCII)


@dataclass(frozen=True)
class KnownNames:
    """The allow-list against DNS rebinding.

    A foreign site can point its own name at this machine, but it cannot make a browser send
    another name than its own. Where the page listens on every address, all addresses in figures
    are known too, because nobody can point those anywhere else.

    Attributes:
        host: address to listen on.
        allowed: further names, such as that of a proxy.
    """

    host: str = LOOPBACK[0]
    allowed: tuple[str, ...] = ()

    def knows(self, netloc: str) -> bool:
        """Whether ``NAME`` or ``NAME:PORT`` is this server."""
        name = host_of(netloc)
        if name in LOOPBACK or name == self.host.lower() or name in self._further():
            return True
        everywhere = self.host in ANY_ADDRESS
        return everywhere and (is_address(name) or name == socket.gethostname().lower())

    def is_own_origin(self, origin: str, netloc: str) -> bool:
        """Whether a page of this origin belongs to the server that was asked under ``netloc``."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
            return False
        same = parts.netloc.lower() == netloc.lower()
        return same or host_of(parts.netloc) in self._further()

    def _further(self) -> set[str]:
        return {name.lower() for name in self.allowed}


def host_of(netloc: str) -> str:
    """Name in ``NAME``, ``NAME:PORT`` or ``[ADDRESS]:PORT``; empty if it is none of these."""
    found = _NETLOC.fullmatch(netloc)
    return (found[1] or found[2]).lower() if found else ""


def is_address(name: str) -> bool:
    """Whether this is an address in figures."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
