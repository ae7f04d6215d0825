"""List the weights that the configs can use, or fetch some of them.

Of each tower (a CLIP), backbone (another network) and checkpoint (of a method) the list says the
file, its address, size, checksum and licence, who states this, where it is looked for, and whether
it is there. What nobody states is "unknown". `ovsuite weights get NAME ...` fetches into the
weights folder and verifies. Every command looks there: OVS_WEIGHTS, or ~/.cache/ovsuite/weights.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from ..errors import UserError
from . import options, reporting

if TYPE_CHECKING:
    from ..reports.weights import WeightEntry

SUMMARY = "weights that the configs can use: list them, fetch them"
EXAMPLES = ("ovsuite weights", "ovsuite weights get ViT-B-16-quickgelu/openai")
UNKNOWN = "unknown"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "action", nargs="?", choices=("list", "get"), default="list", help="list, or get NAME"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="as the list has it")
    parser.add_argument("--missing", action="store_true", help="list only what is not on this disk")
    options.add_json(parser)


def run(args: Namespace) -> int:
    """List, or fetch.

    Returns:
        0; what cannot be fetched is an error.
    """
    if args.action == "list":
        return _list(args)
    if not args.names:
        raise UserError("name what to fetch: ovsuite weights get NAME; `ovsuite weights` lists all")
    from ..reports.weights import fetch_weights

    for name in args.names:
        got = fetch_weights(name)
        state = "as stated" if got.verified else "which nobody states"
        about = f"{_mib(got.size)}, SHA-256 {got.sha256}, {state}" if got.size else "was there"
        print(f"{name}: {got.path}, {about}")
    return 0


def _list(args: Namespace) -> int:
    from ..files.weights_folder import weights_folder
    from ..reports.weights import list_weights

    if args.names:
        raise UserError(f"'{args.names[0]}' is too much; ovsuite weights get NAME fetches")
    entries = [one for one in list_weights() if one.found is None or not args.missing]
    here = sum(entry.found is not None for entry in entries)
    end = f"{here} of {len(entries)} on this disk. Weights folder: {weights_folder()}"
    text = "\n\n".join([*map(_describe, entries), end])
    content = [_facts(entry) for entry in entries]
    reporting.write_report(args.json, content, text)
    return 0


def _facts(entry: WeightEntry) -> dict[str, object]:
    from dataclasses import asdict  # the help goes without

    places = {key: getattr(entry, key) for key in ("found", "looked_for")}
    paths = {key: str(path) if path is not None else None for key, path in places.items()}
    return asdict(entry) | {"size": entry.size} | paths


def _describe(entry: WeightEntry) -> str:
    files = [f"{file.url} (SHA-256 {file.sha256 or UNKNOWN})" for file in entry.files]
    used = f"{len(entry.configs)} configs, such as {entry.configs[0]}" if entry.configs else ""
    lines = {
        "here": entry.found or "no",
        "address": "\n            or ".join(files) or (f"page {entry.page}" if entry.page else ""),
        "stated by": entry.stated_by,
        "size": _mib(entry.size) if entry.size is not None else UNKNOWN,
        "licence": entry.licence or UNKNOWN,
        "looked for": entry.looked_for if entry.found is None else "",
        "used by": used,
    }
    shown = [f"  {title + ':':<12}{text}" for title, text in lines.items() if text]
    return "\n".join([f"{entry.name} ({entry.kind})", *shown])


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
