"""Measure all training-free methods on the same data by one rule.

Each row has the mean mIoU over the test sets, what its authors published by protocols of their
own, the time against CLIP's image tower alone, and memory. BOARD is embedded, vitb16 or vitl14;
without it the embedded world is measured, then the benchmarks that are on this disk by ViT-B/16.
Those that are not are named. What was measured before with the same config is not measured again.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from . import options

SUMMARY = "all training-free methods by one rule: accuracy, time and memory"
EXAMPLES = (
    "ovsuite leaderboard embedded --samples 1 --only clip,sclip",
    "ovsuite leaderboard vitb16 --output output/board MODEL.CLIPTRASE.PROXYCLIP.WEIGHTS dino.pth",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("board", nargs="?", metavar="BOARD", help="what is measured")
    options.add_only(parser)
    options.add_samples(parser)
    options.add_output(parser, "output/leaderboard")
    options.add_device(parser)
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Measure, print and write.

    Returns:
        0 if every method ran on every set that is there, else 1.
    """
    from ..errors import UserError
    from ..reports.boards import USUAL, find_board
    from ..reports.leaderboard import run_board
    from ..reports.leaderboard_files import write_board

    if args.samples == 0:
        raise UserError("--samples 0 leaves no picture to measure; ask for at least one")
    names = [args.board] if args.board else USUAL
    failed = False
    for name, board in [(name, find_board(name)) for name in names]:
        folder = Path(args.output) / name
        standings, missing = run_board(
            board,
            folder,
            only=args.only,
            samples=args.samples,
            options=["MODEL.DEVICE", args.device, *args.opts],
        )
        text = write_board(board, standings, missing, folder)
        print(f"\n{text}\n\nfiles  {folder}/leaderboard.md, .json, .png\n", flush=True)
        failed |= any(standing.not_run for standing in standings)
    return int(failed)
