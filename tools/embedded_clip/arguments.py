"""The command line of the training."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def parse_arguments(description: str | None, argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--arch", choices=("vit", "convnext"), default="vit")
    add("--output", type=Path, required=True, help="folder of checkpoint, log and weights")
    add("--seed", type=int, default=1)
    add("--init", type=Path, help="weights to start from; from nothing by default")
    add("--text-from", type=Path, help="weights whose text tower is taken and kept as it is")
    add("--export", action="store_true", help="replace the shipped weights at the end")
    _add_pace(parser)
    _add_pictures(parser)
    _add_losses(parser)
    return parser.parse_args(argv)


def _add_pace(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("pace").add_argument
    add("--steps", type=int, default=1300)
    add(
        "--minutes",
        type=float,
        default=0.0,
        help="end after so many minutes though fewer steps were made, the rate falling with the "
        "time; such a run resumes, but not to the same bits, as its rate follows the clock. "
        "0: never",
    )
    add("--batch", type=int, default=256, help="pictures in a step, fewer if above 96 pixels")
    add("--lr", type=float, default=1.2e-3)
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    add("--threads", type=int, default=os.cpu_count())
    add("--workers", type=int, default=os.cpu_count(), help="processes that render")
    add("--fp32", action="store_true", help="no bf16 autocast")
    add("--check-every", type=int, default=150, help="steps between checkpoints")


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("pictures").add_argument
    add(
        "--banks",
        nargs="+",
        default=["objects:64", "windows:64", "objects:64", "windows:96"],
        metavar="KIND:SIDE[:SHORT SIDE OF SCENES]",
        help="what a step shows, in turn: object-centred pictures or windows of scenes",
    )
    add("--pictures", type=int, default=160_000, help="pictures in each bank")
    add("--captions", type=int, default=128, help="captions in a step, shared by its pictures")
    add(
        "--held-out-from",
        type=float,
        default=0.3,
        help="share of the training from which pictures of pairs that no caption names take part, "
        "captioned by their bare thing or bare colour",
    )


def _add_losses(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("losses").add_argument
    add("--helper-share", type=float, default=0.5, help="share of the steps with the helper task")
    add("--patch-dropout", type=float, default=0.0, help="share of a ViT's patches left out")
    add("--dense-weight", type=float, default=1.0, help="of the contrast of patches and phrases")
    add("--patch-weight", type=float, default=1.0, help="of the loss that every patch be something")
    add(
        "--paths",
        nargs="+",
        choices=("value", "recovered", "self"),
        default=["value", "recovered", "recovered", "self"],
        help="last blocks through which a ViT's patches are read, drawn anew in each step",
    )
