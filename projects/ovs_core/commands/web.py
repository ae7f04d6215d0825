"""Open a local web page: drop a picture, type words, compare methods side by side.

Without --methods the page offers the configs of the embedded world, and those whose weights lie on
this disk; a named config may fetch CLIP's weights. Pictures and words stay on this machine. Needs
gradio: pip install -e '.[web]'.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from . import options

SUMMARY = "open a local web page: drop a picture, type words, compare methods"
EXAMPLES = (
    "ovsuite web",
    "ovsuite web --open --port 8000",
    "ovsuite web --methods cliptrase/vitb16 output/hclip_tiny",
    "ovsuite web --methods hclip/vitb16 --weights hclip_vitb16.pth",
    "ovsuite web --host 0.0.0.0 --max-upload 5",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_methods(parser, required=False)
    options.add_weights(parser, several=True)
    options.add_device(parser)
    parser.add_argument("--host", default="127.0.0.1",
                        help="address to listen on; 127.0.0.1 is this machine only")  # fmt: skip
    parser.add_argument("--port", type=int, default=7860,
                        help="port; the next free one if it is taken")  # fmt: skip
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--max-upload", type=float, default=20, metavar="MB",
                        help="largest picture file in megabytes")  # fmt: skip
    options.add_max_pixels(parser, 25)
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from ..errors import UserError
    from ..web.choices import found_choices, named_choices
    from ..web.inputs import Limits
    from ..web.server import Settings, require_gradio, serve

    if not 0 < args.port < 65536:
        raise UserError(f"--port {args.port}: must be between 1 and 65535")
    if args.max_upload <= 0 or args.max_pixels <= 0:
        raise UserError("--max-upload and --max-pixels must be above 0")
    if args.weights and not args.methods:
        raise UserError("--weights needs --methods: the configs that the checkpoints belong to")
    require_gradio()
    choices = named_choices(args.methods, args.weights) if args.methods else found_choices()
    limits = Limits(args.max_upload, args.max_pixels)
    serve(choices, Settings(args.host, args.port, limits, args.device, args.open, args.opts))
    return 0
