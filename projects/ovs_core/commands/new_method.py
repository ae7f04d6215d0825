"""Write the folder of a method of your own: a small one that works, with its config and test.

It lies beside the suite's methods, where all commands find it at once.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

SUMMARY = "write the folder of a method of your own, ready to change"
EXAMPLES = ("ovsuite new-method mymethod",)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("name", metavar="NAME", help="of the method: small letters, digits and _")


def run(args: Namespace) -> int:
    """Write the files and say what to do with them."""
    from ..methods.new_method import write_new_method

    for path in write_new_method(args.name):
        print(path)
    print(f"try it: ovsuite train --config-file {args.name}/tiny SOLVER.MAX_ITER 4")
    print("before you send it: rows for its configs in MODEL_ZOO.md, and in the export table of")
    print("GETTING_STARTED.md; tests/documents asks for them")
    return 0
