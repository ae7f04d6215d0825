"""The guard before gradio: it lets through what the page's own script asks for, and no more."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import Callable, Container, Mapping
from urllib.parse import parse_qs, urlencode

from .answers import Answer, App, Receive, Refused, Scope, Send
from .limits import Limits
from .names import KnownNames
from .requests import (
    cookie_of,
    headers_of,
    parse_press,
    password_of,
    plain_scope,
    read_body,
    receive_once,
)
from .sessions import Visitor, Visitors

logger = logging.getLogger(__name__)

API = "/gradio_api"
READING = ("GET", "HEAD")
# What is the same for everybody.
SHOWN = re.compile(
    r"/|/(assets|static)(/[\w@-][\w.@-]*)+|/(favicon\.ico|theme\.css|config)", re.ASCII
)
INFO = f"{API}/info"  # what programs may ask for
HEARTBEAT = re.compile(rf"{API}/heartbeat/([\w-]+)", re.ASCII)
TAB = re.compile(r"[0-9a-z-]{1,36}")  # the name that an open page, or a program, gives itself
PASSWORD_PAUSE = 1.0  # seconds from one wrong password to the next


class Guard:
    """ASGI application in front of another.

    Args:
        app: gradio's.
        visitors: who is known.
        names: under which the page may be asked for.
        limits: what a visitor may send.
        buttons: numbers of fields that gradio's functions take, by the number of the function.
        doors: what is answered without gradio: called with scope, receive, send and visitor, by
            method and the address up to ``=``.
        running: how many runs of a tab wait or are under way.
        always: numbers of gradio's functions that are served however many runs there are.
        password: asked of everybody; empty for none.
        api: whether it is told what programs may ask for.
    """

    def __init__(
        self,
        app: App,
        visitors: Visitors,
        names: KnownNames,
        limits: Limits,
        buttons: Mapping[int, int],
        doors: Mapping[tuple[str, str], App],
        *,
        running: Callable[[str], int] = lambda tab: 0,
        always: Container[int] = (),
        password: str = "",
        api: bool = False,
    ) -> None:
        self._api = api
        self._app, self._visitors, self._names, self._limits = app, visitors, names, limits
        self._buttons, self._doors, self._running = buttons, doors, running
        self._always, self._password = always, password
        self._tries = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":  # the page opens none
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            answer = Answer(send, scope["method"])
            try:
                headers = headers_of(scope)
                self._check_source(scope["method"], headers)
                await self._check_password(headers)
                await self._serve(scope, receive, answer, headers)
            except Refused as refused:
                await answer.refuse(refused)
            except Exception:  # the trace belongs to the terminal, not to the visitor
                logger.exception("%s %s failed", scope["method"], scope["path"])
                await answer.refuse(Refused(500))

    def _check_source(self, method: str, headers: dict[str, list[str]]) -> None:
        """Refuse names that are not this server's, and what other sites would have it do."""
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._names.knows(hosts[0]):
            raise Refused(421)
        if not all(self._names.is_own_origin(o, hosts[0]) for o in headers.get("origin", [])):
            raise Refused(403)
        sites = set(headers.get("sec-fetch-site", []))
        if method not in READING and not sites <= {"same-origin", "none"}:
            raise Refused(403)

    async def _check_password(self, headers: dict[str, list[str]]) -> None:
        if not self._password:
            return
        given = headers.get("authorization", [""])[0]
        if hmac.compare_digest(password_of(given).encode(), self._password.encode()):
            return
        if given:
            async with self._tries:  # one after the other, from wherever they come
                await asyncio.sleep(PASSWORD_PAUSE)
        raise Refused(401)

    async def _serve(
        self, scope: Scope, receive: Receive, answer: Answer, headers: dict[str, list[str]]
    ) -> None:
        method, path = scope["method"], scope["path"]
        visitor = self._visitors.find(cookie_of(headers, self._visitors.cookie))
        if (method == "GET" and SHOWN.fullmatch(path)) or (method, path) == ("HEAD", "/"):
            if (method, path) == ("GET", "/") and visitor is None:
                answer.cookie = f"{self._visitors.cookie}={self._visitors.enter().token}"
            await self._app(plain_scope(scope), receive, answer)
            return
        if visitor is None:
            raise Refused(404)
        door = self._doors.get((method, path.partition("=")[0]))
        if door is not None:
            await door(scope, receive, answer, visitor)
        elif self._api and (method, path) == ("GET", INFO):
            await self._app(plain_scope(scope), receive, answer)
        elif (method, path) == ("POST", f"{API}/queue/join"):
            await self._press(scope, receive, answer, visitor)
        else:
            await self._listen(scope, receive, answer, visitor)

    async def _press(
        self, scope: Scope, receive: Receive, answer: Answer, visitor: Visitor
    ) -> None:
        """Let gradio do what a button does."""
        press = parse_press(await read_body(receive), self._limits.characters)
        if self._buttons.get(press.function) != len(press.inputs):
            raise Refused(400)
        self._claim(visitor, press.tab)
        running = sum(map(self._running, list(visitor.tabs)))
        if running >= self._visitors.bounds.runs and press.function not in self._always:
            raise Refused(429)
        await self._app(plain_scope(scope), receive_once(press.to_json(), receive), answer)

    async def _listen(
        self, scope: Scope, receive: Receive, answer: Answer, visitor: Visitor
    ) -> None:
        """Let gradio tell a tab what became of its buttons."""
        path, query = scope["path"], ""
        heartbeat = HEARTBEAT.fullmatch(path)
        if scope["method"] != "GET" or not (heartbeat or path == f"{API}/queue/data"):
            raise Refused(404)
        if heartbeat:
            self._claim(visitor, heartbeat[1])
        else:
            given = parse_qs(scope["query_string"].decode("latin-1"))
            tab = given.get("session_hash", [""])[-1]
            self._claim(visitor, tab)
            query = urlencode({"session_hash": tab})
        await self._app(plain_scope(scope, query.encode()), receive, answer)

    def _claim(self, visitor: Visitor, tab: object) -> None:
        if not (isinstance(tab, str) and TAB.fullmatch(tab) and self._visitors.claim(visitor, tab)):
            raise Refused(404)
