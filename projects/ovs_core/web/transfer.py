"""Files to and from a visitor, by tickets; gradio's own ways, which take paths, are not used."""

from __future__ import annotations

import asyncio
import logging
import mimetypes
from collections import Counter
from tempfile import gettempdir
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files.pictures import SUFFIXES
from .answers import App, Message, Receive, Refused, Scope, Send
from .guard import API, READING
from .limits import MEBI, UPLOAD_SECONDS, UPLOADS, Limits
from .sessions import Visitor, Visitors

if TYPE_CHECKING:
    from starlette.datastructures import FormData, UploadFile

logger = logging.getLogger(__name__)

NO_ROOM = (
    "the folder for temporary files is full on the machine that serves this page; try again when "
    "there is room"
)
FORM_BYTES = MEBI // 16  # what a form has around its file


class Transfer:
    """Takes uploads and gives files back.

    Args:
        visitors: whose files they are.
        limits: what a visitor may send.
    """

    def __init__(self, visitors: Visitors, limits: Limits) -> None:
        self._visitors = visitors
        self._limits = limits
        self._turns = asyncio.Semaphore(UPLOADS)
        self._arriving: Counter[str] = Counter()  # uploads by the visitor's token

    def doors(self) -> dict[tuple[str, str], App]:
        """What the guard asks for, by method and address."""
        fetching: dict[tuple[str, str], App] = {(m, f"{API}/file"): self.fetch for m in READING}
        return {
            **fetching,
            ("POST", f"{API}/upload"): self.upload,
            ("GET", f"{API}/upload_progress"): self.progress,
        }

    async def upload(self, scope: Scope, receive: Receive, send: Send, visitor: Visitor) -> None:
        """Keep one picture file, and answer with its ticket."""
        from starlette.responses import JSONResponse

        if self._arriving[visitor.token] >= UPLOADS:
            raise Refused(429, "wait until the other pictures have arrived")
        self._arriving[visitor.token] += 1
        try:
            ticket = await asyncio.wait_for(self._take(scope, receive, visitor), UPLOAD_SECONDS)
        except asyncio.TimeoutError as error:
            raise Refused(408) from error
        finally:
            self._arriving -= Counter([visitor.token])  # those at 0 are dropped
        await JSONResponse([ticket])(scope, receive, send)

    async def fetch(self, scope: Scope, receive: Receive, send: Send, visitor: Visitor) -> None:
        """Give a file back to the visitor whose it is."""
        from starlette.responses import FileResponse

        stored = self._visitors.file(visitor, scope["path"].partition("=")[2])
        if stored is None:
            raise Refused(404)
        shown = stored.path.suffix in SUFFIXES  # what else it may be, no browser shall show it
        response = FileResponse(
            stored.path,
            headers={"cache-control": "private, no-store"},
            media_type=mimetypes.guess_type(stored.path)[0] or "application/octet-stream",
            filename=stored.name,
            content_disposition_type="inline" if shown else "attachment",
        )
        await response(scope, receive, send)

    async def progress(self, scope: Scope, receive: Receive, send: Send, visitor: Visitor) -> None:
        """Say that an upload is done: it is there before anybody could look at its progress."""
        from starlette.responses import Response

        done = Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")
        await done(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive, visitor: Visitor) -> str:
        """Store the one file of a form.

        Returns:
            Its ticket.
        """
        from starlette.formparsers import MultiPartException
        from starlette.requests import ClientDisconnect, Request

        request = Request(scope, _bounded(receive, self._limits.bytes + FORM_BYTES))
        try:
            async with request.form(max_files=1, max_fields=1, max_part_size=1024) as form:
                file = self._only_file(form)
                async with self._turns:
                    name, content = file.filename or "picture", await file.read()
                    return await asyncio.to_thread(self._visitors.store, visitor, name, content)
        except UserError as error:
            raise Refused(507, str(error)) from error
        except (MultiPartException, ClientDisconnect) as error:
            raise Refused(400) from error
        except OSError as error:  # large files pass through the folder for temporary ones
            logger.warning("%s: %s; make room there, or set TMPDIR", gettempdir(), error.strerror)
            raise Refused(507, NO_ROOM) from error

    def _only_file(self, form: FormData) -> UploadFile:
        files = form.getlist("files")
        if len(files) != 1 or isinstance(files[0], str):
            raise Refused(400)
        if (files[0].size or 0) > self._limits.bytes:
            raise Refused(413, f"this page takes files up to {self._limits.megabytes:g} MB")
        return files[0]


def _bounded(receive: Receive, most: int) -> Receive:
    """Refuse a body as soon as it is longer than ``most`` bytes."""
    size = 0

    async def receive_next() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise Refused(413)
        return message

    return receive_next
