"""Draw what happens inside a method: the pictures of its paper, on your pictures or a test set.

Without --pictures, evenly spaced ones of the config's test set are taken; without --words, its
classes.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ..errors import UserError
from . import options
from .offered import run_offer

SUMMARY = "draw what happens inside a method"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_model(parser)
    options.add_words(parser)
    options.add_pictures(parser)
    options.add_samples(parser, 4)
    options.add_output(parser, "output/visualize")


def run(args: Namespace) -> int:
    """Draw, and print the files as they are written."""
    if args.samples < 1:
        raise UserError("--samples 0: nothing would be drawn; give 1 at least")
    return run_offer("visualize", args)
