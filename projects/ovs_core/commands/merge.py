"""Fold what a method has learned about CLIP into a plain CLIP checkpoint.

The file loads with open_clip, and in this suite as MODEL.CLIP.PRETRAINED; the adaptation then costs
nothing.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from . import options
from .offered import run_offer

SUMMARY = "fold a fine-tuned CLIP into a plain CLIP checkpoint"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_model(parser)
    options.add_output(parser, required=True)


def run(args: Namespace) -> int:
    """Write the checkpoint."""
    return run_offer("merge", args)
