"""Serving the page on this machine: port, temporary files, and no word to any other machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .choices import Choice
from .examples import draw_examples, thumbnail_style
from .inputs import Limits
from .page import HERE, Actions, build_page
from .room import ModelRoom

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PORTS_TRIED = 100
# Set before gradio is imported, which reads them once.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_SHARE": "False",
}
# The browser itself refuses whatever the page would fetch from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; frame-ancestors 'self'"
)


@dataclass(frozen=True)
class Settings:
    """How the page is served.

    Attributes:
        host: address to listen on.
        port: first port to try.
        limits: what a visitor may send.
        device: ``auto``, ``cpu`` or ``cuda``.
        open_browser: whether to open the page in the browser.
        options: KEY VALUE overrides of every method.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    limits: Limits = field(default_factory=Limits)
    device: str = "auto"
    open_browser: bool = False
    options: Sequence[str] = ()


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
    if settings.host not in LOOPBACK:
        print(
            f"warning: {settings.host} can be reached from other machines; whoever reaches it can "
            "use this page, and there is no password",
            file=sys.stderr,
        )
    stop = stop or _stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="ovsuite_web_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = launch(choices, settings, port, Path(folder))
        print(f"http://{_shown(settings.host)}:{port}  (Ctrl-C stops)", flush=True)
        try:
            stop.wait()
        finally:
            page.close(verbose=False)


def launch(choices: Sequence[Choice], settings: Settings, port: int, folder: Path) -> Any:
    """Start the server in a thread of its own.

    Args:
        choices: the methods on offer.
        settings: how.
        port: a free one.
        folder: for downloads.

    Returns:
        The running ``gradio.Blocks``.
    """
    import gradio as gr
    from starlette.middleware import Middleware

    room = ModelRoom(choices, settings.device, settings.options)
    actions = Actions(room, settings.limits, folder)
    examples = draw_examples()
    page = build_page(actions, room, examples)
    page.launch(
        server_name=settings.host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        inbrowser=settings.open_browser,
        ssr_mode=False,
        pwa=False,
        footer_links=[],
        show_error=True,
        max_file_size=round(settings.limits.megabytes * 2**20),
        allowed_paths=[],
        favicon_path=str(HERE / "icon.svg"),
        theme=_theme(gr),
        css=thumbnail_style(examples),
        css_paths=[HERE / "style.css"],
        head=f"<script>{(HERE / 'viewer.js').read_text()}</script>",
        app_kwargs={"middleware": [Middleware(SecurityHeaders)]},
    )
    return page


class SecurityHeaders:
    """ASGI middleware: adds the content policy to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Pass a request on, and its answer back with the headers added."""

        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)


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
    )  # fmt: skip
