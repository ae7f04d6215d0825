"""List the methods of the suite, or the configs of one method with what they need.

A config's short name is what --method, --config-file and Predictor.from_config take.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

SUMMARY = "list the methods, their configs, and which weights are here"
EXAMPLES = ("ovsuite methods", "ovsuite methods cliptrase", "ovsuite methods --all")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("project", nargs="?", metavar="METHOD", help="list its configs")
    parser.add_argument("--all", action="store_true", help="list the configs of all methods")


def run(args: Namespace) -> int:
    """Print the list."""
    from ..methods.configs import list_configs

    names = list_configs(args.project)  # a misspelt name shows before anything is loaded
    print(_configs(names) if args.project or args.all else _methods())
    return 0


def _methods() -> str:
    from tabulate import tabulate

    from ..methods.configs import list_configs
    from ..methods.projects import import_projects

    rows = []
    for project in import_projects():
        about = (project.__doc__ or "").strip().splitlines()[0].rstrip(".")
        rows.append((project.__name__, len(list_configs(project.__name__)), about))
    table = tabulate(rows, headers=("method", "configs", "what it is"), tablefmt="simple")
    return f"{table}\n\n`ovsuite methods NAME` lists the configs of a method."


def _configs(names: list[str]) -> str:
    from tabulate import tabulate

    from ..reports.catalog import offers

    rows = [
        (offer.name, offer.kind, f"{offer.architecture} {offer.pretrained}".strip(), offer.state)
        for offer in offers(names)
    ]
    return tabulate(rows, headers=("config", "kind", "CLIP", "weights"), tablefmt="simple")
