"""List the methods of the suite, or the configs of one method.

A config's short name is what --method and Predictor.from_config take.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

SUMMARY = "list the methods and their configs"
EXAMPLES = ("ovsuite methods", "ovsuite methods cliptrase")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("method", nargs="?", help="list this method's configs")


def run(args: Namespace) -> int:
    """Print the list."""
    from ..configs import list_configs, list_methods

    if args.method:
        print("\n".join(list_configs(args.method)))
        return 0
    for method in list_methods():
        print(f"{method:12} {len(list_configs(method))} configs")
    return 0
