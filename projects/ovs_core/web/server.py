"""Serving the page on this machine: port, temporary files, and no word to any other machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .actions import Actions
from .answers import App
from .choices import Choice
from .examples import draw_examples, thumbnail_style
from .guard import Guard
from .limits import CONNECTIONS, UNREAD, Bounds, Limits
from .names import KnownNames, is_loopback
from .page import HERE, STOP, build_page
from .room import ModelRoom
from .sessions import Visitors
from .transfer import Transfer

PORTS_TRIED = 100
# Set before gradio is imported, which reads them once.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_SHARE": "False",
    "GRADIO_RUN_HISTORY": "False",
}
SCRIPTS = ("fields.js", "viewer.js")
GRACE = 2  # seconds that open answers have when the page ends
SWEEP = 60.0  # seconds from one look for visitors who are gone to the next


@dataclass(frozen=True)
class Settings:
    """How the page is served.

    Attributes:
        host: address to listen on.
        port: first port to try.
        limits: what a visitor may send.
        bounds: what is kept for visitors.
        names: under which the page may be asked for, besides the host.
        password: asked of every visitor; empty for none.
        device: ``auto``, ``cpu`` or ``cuda``.
        open_browser: whether to open the page in the browser.
        options: KEY VALUE overrides of every method.
        api: whether programs may ask too.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    limits: Limits = field(default_factory=Limits)
    bounds: Bounds = field(default_factory=Bounds)
    names: Sequence[str] = ()
    password: str = ""
    device: str = "auto"
    open_browser: bool = False
    options: Sequence[str] = ()
    api: bool = False


def serve(
    choices: Sequence[Choice], settings: Settings, *, stop: threading.Event | None = None
) -> None:
    """Serve the page until interrupted; uploads and downloads are deleted at the end.

    Args:
        choices: the methods on offer.
        settings: how.
        stop: ends the serving when set (for tests); else Ctrl-C or SIGTERM do.

    Raises:
        UserError: if gradio is missing or no port is free.
    """
    os.environ.update(QUIET)
    require_gradio()
    port = free_port(settings.host, settings.port)
    if not (is_loopback(settings.host) or settings.password):
        print(
            f"warning: {settings.host} can be reached from other machines; whoever reaches it can "
            "use this page, and there is no password",
            file=sys.stderr,
        )
    stop = stop or _stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="ovsuite_web_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        served = launch(choices, settings, port, Path(folder))
        print(f"http://{_shown(settings.host)}:{port}  (Ctrl-C stops)", flush=True)
        if settings.open_browser:
            webbrowser.open(f"http://{_shown(settings.host)}:{port}")
        try:
            while not stop.wait(SWEEP):
                served.visitors.sweep()
        finally:
            served.close()


class Served:
    """The page while it is served, by a thread of its own.

    Args:
        app: ASGI application.
        settings: how.
        port: a free one.
        visitors: who is known.
        actions: what the buttons do.

    Raises:
        UserError: if the server does not start.
    """

    def __init__(
        self, app: App, settings: Settings, port: int, visitors: Visitors, actions: Actions
    ) -> None:
        import uvicorn

        self.visitors = visitors
        self._actions = actions
        config = uvicorn.Config(
            app, settings.host, port, log_level="error", server_header=False,
            limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=GRACE,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
            if not self._thread.is_alive():
                raise UserError(f"the page cannot be served at {settings.host}, port {port}")

    def close(self) -> None:
        """Stop serving; runs are ended and open answers cut off."""
        self._actions.close()
        self._server.should_exit = True
        self._thread.join()


def launch(choices: Sequence[Choice], settings: Settings, port: int, folder: Path) -> Served:
    """Start the server.

    Args:
        choices: the methods on offer.
        settings: how.
        port: a free one.
        folder: of the visitors' files.
    """
    room = ModelRoom(choices, settings.device, settings.options)
    visitors = Visitors(folder, settings.bounds)
    examples = draw_examples(photographs=any(c.sees_photographs for c in choices))
    actions = Actions(room, settings.limits, visitors)
    page = build_page(actions, room, visitors, examples, api=settings.api)
    always = {number for number, event in page.fns.items() if event.api_name == STOP}
    buttons = {number: len(event.inputs) for number, event in page.fns.items() if event.fn}
    tabs = Tabs(page)
    visitors.forget_tab = tabs.forget
    guard = Guard(
        _mount(page, settings, port, thumbnail_style(examples)), visitors,
        KnownNames(settings.host, tuple(settings.names)), settings.limits, buttons,
        Transfer(visitors, settings.limits).doors(), running=tabs.running,
        always=always, password=settings.password, api=settings.api,
    )  # fmt: skip
    return Served(guard, settings, port, visitors, actions)


class Tabs:
    """What gradio keeps of open pages.

    Args:
        page: a ``gradio.Blocks`` that is mounted by the time of the first call.
    """

    def __init__(self, page: Any) -> None:
        self._page = page

    def running(self, tab: str) -> int:
        """How many runs wait or are under way. Of those that ended, little is left for nobody."""
        queue = self._page._queue
        started = queue.pending_event_ids_session.get(tab, ())
        count = sum(run in queue.event_ids_to_events for run in tuple(started))
        messages = queue.pending_messages_per_session.get(tab)
        if count == 0 and messages is not None and messages.qsize() > UNREAD:
            queue.pending_messages_per_session.pop(tab, None)
            queue.pending_event_ids_session.pop(tab, None)
        return count

    def forget(self, tab: str) -> None:
        """Drop what is kept of a tab and of its runs."""
        queue, states = self._page._queue, self._page.state_holder
        for run in tuple(queue.pending_event_ids_session.pop(tab, ())):
            event = queue.event_ids_to_events.get(run)
            if event is not None:
                event.alive = False  # has no messages any more
        queue.pending_messages_per_session.pop(tab, None)
        states.session_data.pop(tab, None)
        states.time_last_used.pop(tab, None)


def _mount(page: Any, settings: Settings, port: int, css: str) -> Any:
    """Make the application of gradio, without a server."""
    import gradio as gr
    from fastapi import FastAPI

    page.state_session_capacity = settings.bounds.visitors * settings.bounds.tabs
    return gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None), page, "/",
        server_name=settings.host, server_port=port, footer_links=[],
        ssr_mode=False, pwa=False, mcp_server=False, show_error=False, enable_monitoring=False,
        max_file_size=settings.limits.bytes, favicon_path=str(HERE / "icon.svg"),
        theme=_theme(gr), css=css, css_paths=[HERE / "style.css"],
        head="".join(f"<script>{(HERE / name).read_text()}</script>" for name in SCRIPTS),
    )  # fmt: skip


def require_gradio() -> None:
    """Make sure that gradio can be imported.

    Raises:
        UserError: if not; names the extra to install.
    """
    try:
        import gradio
    except ImportError as error:
        raise UserError(f"the page needs gradio ({error}): pip install -e '.[web]'") from error
    if int(gradio.__version__.split(".")[0]) < 6:
        raise UserError(
            f"the page needs gradio 6, here is {gradio.__version__}: pip install -e '.[web]'"
        )


def free_port(host: str, first: int) -> int:
    """Find the first free port at or after ``first``.

    Raises:
        UserError: if the address is not this machine's, or none of 100 ports is free.
    """
    last = min(first + PORTS_TRIED, 65536)
    for port in range(first, last):
        try:
            with socket.create_server((host, port)):
                return port
        except socket.gaierror as error:
            raise UserError(f"--host {host}: no such address ({error.strerror})") from error
        except OSError as error:
            if error.errno in (99, 49):  # address not available on Linux, macOS
                raise UserError(f"--host {host}: not an address of this machine") from error
    raise UserError(f"no free port from {first} to {last - 1}; give another one with --port")


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _shown(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host


def _theme(gr: Any) -> Any:
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Default(
        primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", radius_size="lg",
        font=fonts, font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(  # gradio's own greys are too faint to be read by everybody
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
        block_title_text_color="*neutral_700", block_info_text_color="*neutral_600",
        button_cancel_background_fill="#b3261e", button_cancel_background_fill_hover="#8f1d17",
        button_cancel_text_color="white",
    )  # fmt: skip
