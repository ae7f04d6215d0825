"""Parts of a request, read with distrust."""

from __future__ import annotations

import base64
import json
from http.cookies import CookieError, SimpleCookie
from typing import Any, NamedTuple

from ..files.json_files import parse_json
from .answers import Message, Receive, Refused, Scope
from .limits import REQUEST_BYTES

# By these gradio would take another address for its own, let other sites of this machine read its
# answers, or read something else than it is given.
_DROPPED = (
    b"x-forwarded-host", b"x-gradio-server", b"origin", b"range", b"content-length",
    b"content-type",
)  # fmt: skip


class Press(NamedTuple):
    """A button that was pressed, as the page's script tells it.

    Attributes:
        tab: name that the open page has given itself.
        function: gradio's number of what the button does.
        trigger: gradio's number of the button.
        inputs: values of the fields; of a picture its ticket.
    """

    tab: object
    function: int
    trigger: int | None
    inputs: list[Any]

    def to_json(self) -> bytes:
        """Write what gradio is given in place of the visitor's own text."""
        content = {"session_hash": self.tab, "fn_index": self.function, "trigger_id": self.trigger}
        return json.dumps({**content, "data": self.inputs}).encode()


def parse_press(body: bytes, characters: int) -> Press:
    """Read a pressed button, and leave out all that the page's script would not send.

    Args:
        body: JSON.
        characters: how long the texts may be.

    Raises:
        Refused: if it is something else.
    """
    try:
        given = parse_json(body)
        tab, function, data = given["session_hash"], given["fn_index"], given["data"]
        trigger = given.get("trigger_id")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(400) from error
    if type(function) is not int or not (trigger is None or type(trigger) is int):
        raise Refused(400)
    if not isinstance(data, list):
        raise Refused(400)
    return Press(tab, function, trigger, [_plain(value, characters) for value in data])


def _plain(value: Any, characters: int) -> Any:
    """Take the values that the fields of the page have; of a file only its ticket is left."""
    if isinstance(value, dict):
        value = value.get("path")
    parts = value if isinstance(value, list) else [value]
    if not all(part is None or isinstance(part, (str, int, float)) for part in parts):
        raise Refused(400)
    if sum(len(part) for part in parts if isinstance(part, str)) > 2 * characters:
        raise Refused(413)  # a text that is a little too long gets an answer on the page
    return value


async def read_body(receive: Receive, most: int = REQUEST_BYTES) -> bytes:
    """Read the body of a request.

    Raises:
        Refused: if it has more than ``most`` bytes, or the visitor has gone.
    """
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise Refused(413)
        more = message.get("more_body", False)
    return b"".join(parts)


def headers_of(scope: Scope) -> dict[str, list[str]]:
    """All values of each header, by its name in small letters."""
    found: dict[str, list[str]] = {}
    for key, value in scope["headers"]:
        found.setdefault(key.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def cookie_of(headers: dict[str, list[str]], name: str) -> str | None:
    """Value of a cookie; None if there is none."""
    try:
        jar: SimpleCookie = SimpleCookie("; ".join(headers.get("cookie", [])))
    except CookieError:
        return None
    return jar[name].value if name in jar else None


def password_of(authorization: str) -> str:
    """Password of HTTP's basic scheme, with any user name; empty if there is none."""
    scheme, _, code = authorization.partition(" ")
    try:
        pair = base64.b64decode(code.strip(), validate=True).decode()
    except ValueError:  # no base64, or no UTF-8
        return ""
    return pair.partition(":")[2] if scheme.lower() == "basic" else ""


def plain_scope(scope: Scope, query: bytes = b"") -> Scope:
    """Copy a request without what gradio need not know."""
    headers = [pair for pair in scope["headers"] if pair[0].lower() not in _DROPPED]
    if scope["method"] == "POST":
        headers.append((b"content-type", b"application/json"))
    return {**scope, "headers": headers, "query_string": query}


def receive_once(body: bytes, receive: Receive) -> Receive:
    """Give ``body`` first, and afterwards what the server tells, such as that the visitor left."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_next() -> Message:
        return pending.pop() if pending else await receive()

    return receive_next
