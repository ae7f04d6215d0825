"""Write the folder of a method of your own: a small one that works, with its config and test.

It goes beside the suite's methods, where all commands find it at once. Nothing is overwritten.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..errors import UserError

SUMMARY = "write the folder of a method of your own, ready to change"
EXAMPLES = ("ovsuite new-method mymethod", "ovsuite new-method mymethod --folder elsewhere")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("name", metavar="NAME", help="of the method: small letters, digits and _")
    parser.add_argument(
        "--folder", type=Path, metavar="PATH",
        help="get projects/NAME and tests/NAME; else the suite's own folder",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Write the files and say what to do with them."""
    from ..engine.config import get_ovs_cfg
    from ..methods.new_method import suite_folder, write_new_method
    from ..methods.projects import SOURCE_ROOT

    folder = suite_folder() if args.folder is None else args.folder
    if args.name.upper() in get_ovs_cfg().MODEL:
        raise UserError(f"MODEL.{args.name.upper()} is a key of the suite; choose another name")
    for path in write_new_method(args.name, folder):
        print(path)
    if (folder / "projects").resolve() != SOURCE_ROOT:
        print(f"the suite finds it where it lies beside ovs_core: in {SOURCE_ROOT}")
    print(f"try it: ovsuite train --config-file {args.name}/tiny SOLVER.MAX_ITER 4")
    return 0
