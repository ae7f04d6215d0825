"""Count a method's parameters, or measure what its parts do, as its paper does."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from . import options
from .offered import run_offer

SUMMARY = "count and measure what a method is made of"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Print the tables."""
    return run_offer("analyse", args)
