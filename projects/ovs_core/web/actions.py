"""What the buttons of the page do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from tempfile import gettempdir
from typing import Any

from PIL import Image

from ..errors import UserError
from ..words.vocabulary import Vocabulary
from .api import answer_of
from .archive import zip_attempts
from .attempts import Asked, Attempt
from .choices import Choice
from .examples import Example
from .inputs import read_methods, read_upload, read_words
from .limits import Limits
from .room import ModelRoom
from .runs import Run, Runs
from .sessions import Stored, Visitor, Visitors
from .viewer import card, encode_picture, lay_out, notice

logger = logging.getLogger(__name__)

NO_ROOM = (
    "the download cannot be made in the folder for temporary files ({}); try again when there is "
    "room on the machine that serves this page"
)
EMPTY = """<div class="ovs-empty"><strong>Nothing segmented yet</strong>
<span>Pick an example or drop a picture, type words, and press Segment.</span></div>"""
# A file as gradio's page takes it. Without gradio's own mark, for which it would copy files.
FileRecord = dict[str, str]
# What gradio takes for a field that stays as it is.
UNCHANGED = {"__type__": "update"}
Outputs = tuple[str, Any]


class Actions:
    """What the buttons do. Every input is read as if the page's script had not written it.

    Args:
        room: the models.
        limits: what a visitor may send.
        visitors: keeps files and results.
    """

    def __init__(self, room: ModelRoom, limits: Limits, visitors: Visitors) -> None:
        self._room = room
        self._limits = limits
        self._visitors = visitors
        self._runs = Runs()

    def segment(
        self, visitor: Visitor, tab: str, ticket: object, text: object, *methods: object
    ) -> Iterator[Outputs]:
        """Segment with one method after the other.

        Args:
            visitor: who asks.
            tab: the open page.
            ticket: of the picture.
            text: the words as typed.
            methods: lists of names of methods.

        Yields:
            Message and cards, each time there is something new to show.
        """
        try:
            words = read_words(text, self._limits)
            choices = self._room.pick(read_methods(methods))
            stored = self._stored(visitor, ticket)
        except UserError as error:
            yield notice(str(error)), UNCHANGED
            return
        asked = Asked(str(ticket), stored.name, str(text))
        work = partial(self._work, visitor, tab, stored, words, choices)
        finished: list[str] = []
        with self._runs.start(tab, work) as run:
            yield "", lay_out(asked, finished, choices, run)
            for _ in run:
                for attempt in run.attempts[len(finished) :]:
                    finished.append(self._card(visitor, asked, attempt))
                if run.error:
                    yield notice(run.error), EMPTY
                else:
                    yield "", lay_out(asked, finished, choices[len(finished) :], run)

    def answer(
        self, visitor: Visitor, tab: str, ticket: object, text: object, method: object
    ) -> dict[str, Any]:
        """Segment for a program: one method, and figures in place of cards.

        Args:
            visitor: who asks.
            tab: the name that the program has given itself.
            ticket: of the picture.
            text: the words.
            method: its name.

        Returns:
            What ``answer_of`` makes of it; ``error`` alone if nothing could be tried.
        """
        try:
            words = read_words(text, self._limits)
            choices = self._room.pick(read_methods([[method]]))
            stored = self._stored(visitor, ticket)
        except UserError as error:
            return {"error": str(error)}
        work = partial(self._work, visitor, tab, stored, words, choices)
        with self._runs.start(tab, work) as run:
            for _ in run:
                pass
        return answer_of(run.attempts[0]) if run.attempts else {"error": run.error}

    def _work(
        self,
        visitor: Visitor,
        tab: str,
        stored: Stored,
        words: Vocabulary,
        choices: Sequence[Choice],
        run: Run,
    ) -> None:
        """Make what a run promises; what it has made is kept for the download."""
        self._visitors.keep(visitor, tab, None)
        try:
            upload = read_upload(stored, self._limits)
        except UserError as error:
            run.error = str(error)
            return
        for choice in choices:
            run.add(self._room.segment(choice, upload.picture, words, run))
            self._visitors.keep(visitor, tab, (upload.stem, run.attempts))

    def _card(self, visitor: Visitor, asked: Asked, attempt: Attempt) -> str:
        try:
            return card(asked, attempt, partial(self._layer, visitor))
        except UserError as error:  # no room for its layers; the download may still work
            return card(asked, Attempt(attempt.choice, None, error=str(error)))

    def stop(self, visitor: Visitor, tab: str, token: object) -> str:
        """End a run of this tab; what it has finished stays.

        Returns:
            An empty message.
        """
        self._runs.stop(tab, token)
        return ""

    def check(self, visitor: Visitor, tab: str, ticket: object) -> str:
        """Tell what is wrong with a picture as soon as it has arrived.

        Returns:
            The message; empty if nothing is.
        """
        if not ticket:
            return ""
        try:
            read_upload(self._stored(visitor, ticket), self._limits)
        except UserError as error:
            return notice(str(error))
        return ""

    def close(self) -> None:
        """End all runs."""
        self._runs.close()

    def download(self, visitor: Visitor, tab: str, strength: object) -> tuple[str, Any]:
        """Write the zip file of what the tab shows.

        Args:
            visitor: who asks.
            tab: the open page.
            strength: of the overlays, 0..1.

        Returns:
            Message, and the file or None.
        """
        if not isinstance(strength, (int, float)) or not 0 <= strength <= 1:
            return notice("the strength of the colours lies between 0 and 1"), None
        stem, attempts = self._visitors.recall(visitor, tab) or ("", ())
        if not any(attempt.result for attempt in attempts):
            return notice("segment a picture first; then its masks can be downloaded"), None
        name = f"{stem}_masks.zip"
        try:
            packed = zip_attempts(attempts, stem, strength)
            ticket = self._visitors.store(visitor, name, packed)
        except UserError as error:
            return notice(str(error)), None
        except OSError as error:  # while the parts of the file are put together
            logger.warning("%s: %s; make room there, or set TMPDIR", gettempdir(), error.strerror)
            return notice(NO_ROOM.format(error.strerror)), None
        return "", _record(ticket, name)

    def example(self, example: Example, visitor: Visitor, tab: str) -> tuple[Any, Any, str]:
        """Put an example into the fields.

        Returns:
            The picture, the words and a message; None leaves a field as it is.
        """
        content = encode_picture(Image.fromarray(example.image), "PNG")
        try:
            ticket = self._visitors.store(visitor, "example.png", content)
        except UserError as error:
            return None, example.words, notice(str(error))
        return _record(ticket, "example.png"), example.words, ""

    def _stored(self, visitor: Visitor, ticket: object) -> Stored:
        stored = self._visitors.file(visitor, ticket)
        if not ticket:
            raise UserError("add a picture first: drop a file, paste one, or pick an example")
        if stored is None:  # the same answer to whatever was asked for
            raise UserError("this picture is not here any more; add it again")
        return stored

    def _layer(self, visitor: Visitor, image: Image.Image, kind: str) -> str:
        name = f"layer.{kind.lower()}"
        return _address(self._visitors.store(visitor, name, encode_picture(image, kind)))


def for_visitor(
    action: Callable[..., Any], visitors: Visitors, request_type: type, gone: tuple[Any, ...]
) -> Callable[..., Iterator[Any]]:
    """Let gradio call an action with who asks.

    Args:
        action: takes the visitor, the tab and the fields; gives outputs, one time or several.
        visitors: who is known.
        request_type: ``gradio.Request``, by which gradio sees that it shall hand the request over.
        gone: the outputs for a visitor who is not known any more.
    """

    def act(request: Any, *fields: Any) -> Iterator[Any]:
        visitor = visitors.find(request.cookies.get(visitors.cookie))
        if visitor is None:
            yield gone
            return
        outputs = action(visitor, request.session_hash, *fields)
        yield from (outputs if isinstance(outputs, Iterator) else [outputs])

    act.__annotations__ = {"request": request_type}
    return act


def _record(ticket: str, name: str) -> FileRecord:
    return {"path": ticket, "url": _address(ticket), "orig_name": name}


def _address(ticket: str) -> str:
    return f"gradio_api/file={ticket}"
