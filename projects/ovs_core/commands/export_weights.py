"""Write the weights of a training as one safetensors file to share, and a card that describes it.

The card (Markdown, beside the file) has the config, the CLIP that the weights stand on, the data,
the figures of the run's evaluations with their rule, and the licences. The file is used as a
checkpoint is: by --weights of all commands and as MODEL.WEIGHTS.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from . import options

SUMMARY = "write the weights of a training as a file to share, with a card"
EXAMPLES = ("ovsuite export-weights output/hclip_tiny --output hclip_tiny.safetensors --half",)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("run", metavar="RUN", type=Path, help="output folder of a training")
    options.add_output(parser, required=True)
    parser.add_argument(
        "--checkpoint", metavar="FILE", default="", help="of the run; else the newest"
    )
    parser.add_argument("--half", action="store_true", help="in half precision")
    options.add_overwrite(parser)


def run(args: Namespace) -> int:
    """Write the file and its card."""
    from ..export.shared_weights import export_weights

    card = export_weights(
        args.run, args.output,
        checkpoint=args.checkpoint, half=args.half, overwrite=args.overwrite,
    )  # fmt: skip
    print(f"{args.output}: {args.output.stat().st_size / 2**20:.1f} MiB; what it is: {card}")
    return 0
