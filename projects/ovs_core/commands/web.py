"""Open a local web page: drop a picture, type words, compare methods side by side.

Without --methods the page offers the configs of the embedded world, and those whose weights lie on
this disk; a named config may fetch CLIP's weights. Pictures and words stay on this machine. Needs
gradio: pip install -e '.[web]'.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from getpass import getpass

from . import options, picture_options

SUMMARY = "open a local web page: drop a picture, type words, compare methods"
EXAMPLES = (
    "ovsuite web",
    "ovsuite web --browser --port 8000",
    "ovsuite web --methods cliptrase/vitb16 output/hclip_tiny",
    "ovsuite web --methods hclip/vitb16 --weights hclip_vitb16.pth",
    "ovsuite web --host 0.0.0.0 --password --max-upload 5",
    "ovsuite web --allow-host page.example.org --password",
    "ovsuite web --api",
)
PASSWORD_VARIABLE = "OVSUITE_PASSWORD"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_methods(parser, required=False)
    options.add_weights(parser, several=True)
    options.add_device(parser)
    parser.add_argument("--host", default="127.0.0.1",
                        help="address to listen on; 127.0.0.1 is this machine only")  # fmt: skip
    parser.add_argument("--port", type=int, default=7860,
                        help="port; the next free one if it is taken")  # fmt: skip
    parser.add_argument("--browser", action="store_true", help="open the page in the browser")
    parser.add_argument("--api", action="store_true",
                        help="let programs ask too, through gradio_client")  # fmt: skip
    parser.add_argument("--max-upload", type=float, default=20, metavar="MB",
                        help="largest picture file in megabytes")  # fmt: skip
    picture_options.add_max_pixels(parser)
    parser.add_argument("--max-kept", type=float, default=200, metavar="MB",
                        help="files that are kept for one visitor")  # fmt: skip
    parser.add_argument("--max-disk", type=float, default=2000, metavar="MB",
                        help="files that are kept for all visitors")  # fmt: skip
    parser.add_argument("--allow-host", nargs="+", action="extend", default=[], metavar="NAME",
                        help="further names of this server, such as that of a proxy in "
                        "front of it")  # fmt: skip
    parser.add_argument("--password", nargs="?", const="", metavar="PASSWORD",
                        help="ask visitors for it; without PASSWORD it comes from "
                        f"{PASSWORD_VARIABLE}, or is typed")  # fmt: skip
    parser.add_argument("--no-password", action="store_true",
                        help="let in whoever reaches --host from another machine")  # fmt: skip
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from ..errors import UserError
    from ..web.choices import found_choices, named_choices
    from ..web.limits import Bounds, Limits
    from ..web.names import host_of
    from ..web.server import Settings, require_gradio, serve

    if not 0 < args.port < 65536:
        raise UserError(f"--port {args.port}: must be between 1 and 65535")
    for name in ("max_upload", "max_kept", "max_disk"):
        if not 0 < getattr(args, name) < float("inf"):
            raise UserError(f"--{name.replace('_', '-')} must be a number above 0")
    megapixels = picture_options.settle_max_pixels(args.max_pixels, Limits.megapixels)
    if args.weights and not args.methods:
        raise UserError("--weights needs --methods: the configs that the checkpoints belong to")
    wrong = [name for name in args.allow_host if host_of(name) != name.lower()]
    if wrong:
        raise UserError(f"--allow-host {wrong[0]}: give a name without http:// and port")
    password = _password(args)
    require_gradio()
    choices = named_choices(args.methods, args.weights) if args.methods else found_choices()
    settings = Settings(
        args.host, args.port, Limits(args.max_upload, megapixels),
        Bounds(visitor_megabytes=args.max_kept, megabytes=args.max_disk), args.allow_host,
        password, args.device, args.browser, args.opts, args.api,
    )  # fmt: skip
    serve(choices, settings)
    return 0


def _password(args: Namespace) -> str:
    """Find the password; empty for none.

    Raises:
        UserError: if it is not said whether a page for other machines has one.
    """
    from ..errors import UserError
    from ..web.names import is_loopback

    if args.no_password:
        if args.password is not None:
            raise UserError("--password and --no-password contradict each other; give one")
        return ""
    password = args.password or os.environ.get(PASSWORD_VARIABLE, "")
    if args.password == "" and not password:
        password = getpass("Password of the page: ") if sys.stdin.isatty() else ""
        if not password:
            raise UserError(f"--password is empty; type one, or set {PASSWORD_VARIABLE}")
    if not password and not is_loopback(args.host):
        raise UserError(
            f"--host {args.host} can be reached from other machines: give --password, set "
            f"{PASSWORD_VARIABLE}, or say --no-password"
        )
    return password
