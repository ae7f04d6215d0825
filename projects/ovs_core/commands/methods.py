"""List the methods of the suite, or the configs of one method with what they need.

A config's short name is what --method, --config-file and Predictor.from_config take.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from . import options, reporting

SUMMARY = "list the methods, their configs, and which weights are here"
EXAMPLES = ("ovsuite methods", "ovsuite methods cliptrase", "ovsuite methods --all")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("project", nargs="?", metavar="METHOD", help="list its configs")
    parser.add_argument("--all", action="store_true", help="list the configs of all methods")
    options.add_json(parser)


def run(args: Namespace) -> int:
    """Print the list."""
    from ..methods.configs import list_configs

    names = list_configs(args.project)  # a misspelt name shows before anything is loaded
    rows, text = _configs(names) if args.project or args.all else _methods()
    reporting.write_report(args.json, rows, text)
    return 0


def _methods() -> tuple[list[dict[str, object]], str]:
    from tabulate import tabulate

    from ..methods.configs import list_configs
    from ..methods.projects import import_projects

    rows: list[dict[str, object]] = []
    for project in import_projects():
        about = (project.__doc__ or "").strip().splitlines()[0].rstrip(".")
        count = len(list_configs(project.__name__))
        rows.append({"method": project.__name__, "configs": count, "what it is": about})
    table = tabulate(rows, headers="keys", tablefmt="simple")
    return rows, f"{table}\n\n`ovsuite methods NAME` lists the configs of a method."


def _configs(names: list[str]) -> tuple[list[dict[str, object]], str]:
    from tabulate import tabulate

    from ..reports.catalog import offers

    rows: list[dict[str, object]] = [
        {
            "config": offer.name,
            "kind": offer.kind,
            "CLIP": f"{offer.architecture} {offer.pretrained}".strip(),
            "weights": offer.state,
        }
        for offer in offers(names)
    ]
    return rows, tabulate(rows, headers="keys", tablefmt="simple")
