"""What the page answers: with the headers that keep a browser to it, and to all errors one line."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

# ASGI's types; those of Starlette are not to be had without the extra ``web``.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[..., Awaitable[None]]

# Whatever went wrong, the answer is one of these: it tells neither paths nor reasons.
_NOT_OURS = "this request is not one of the page's"
LINES = {
    400: _NOT_OURS,
    401: "this page has a password",
    403: "this request comes from another site",
    404: "nothing here, or no longer; reload the page",
    405: _NOT_OURS,
    408: "this took too long",
    413: "this is more than the page takes",
    421: "the page is not known by this name; `ovsuite web --allow-host NAME` makes it known",
    422: _NOT_OURS,
    429: "wait until what runs is done",
    503: "too many are waiting; try again in a while",
}
FAILED = "this failed; the terminal shows where"
# The browser itself refuses whatever the page would fetch from elsewhere.
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


class Refused(Exception):
    """A request that is not served.

    Args:
        status: HTTP's number for it.
        line: what the visitor reads; default what ``LINES`` says.
    """

    def __init__(self, status: int, line: str = "") -> None:
        super().__init__(status)
        self.status = status
        self.line = line or LINES.get(status, FAILED)


class Answer:
    """ASGI's ``send``, which adds the headers, and turns what tells of an error into one line.

    Args:
        send: of the server.
        method: of the request.

    Attributes:
        cookie: ``NAME=VALUE`` that the browser is given.
    """

    def __init__(self, send: Send, method: str) -> None:
        self.cookie = ""
        self._send = send
        self._method = method
        self._started = self._refused = False

    async def __call__(self, message: Message) -> None:
        """Pass on a message of the application."""
        if self._refused:
            return
        if message["type"] != "http.response.start":
            await self._send(message)
        elif message["status"] >= 400:
            await self.refuse(Refused(message["status"]))
        else:
            self._started = True
            headers = [*message.get("headers", []), *_raw(HEADERS)]
            if self.cookie:
                cookie = f"{self.cookie}; Path=/; HttpOnly; SameSite=Strict"
                headers += _raw({"set-cookie": cookie, "cache-control": "no-store"})
            await self._send({**message, "headers": headers})

    async def refuse(self, refused: Refused) -> None:
        """Answer with one line, if nothing was answered yet."""
        if self._started or self._refused:
            return
        self._refused = True
        body = json.dumps({"detail": refused.line}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **HEADERS}
        if refused.status == 401:
            headers["www-authenticate"] = 'Basic realm="OVSuite", charset="UTF-8"'
        start = {"type": "http.response.start", "status": refused.status}
        await self._send({**start, "headers": _raw(headers)})
        content = b"" if self._method == "HEAD" else body
        await self._send({"type": "http.response.body", "body": content})


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
