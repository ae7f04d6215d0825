"""From a command line to the module of its subcommand.

A subcommand is a module of this folder with ``SUMMARY`` (one line), ``EXAMPLES`` (command lines as
typed), ``add_arguments(parser)`` and ``run(args)``, which gives the exit code. Its docstring
describes it under ``-h``. What takes long to import (torch, Detectron2) is imported inside ``run``,
so that the help is quick. Some get their substance from the projects, see ``offered``.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from ..errors import UserError, explain
from .offered import OFFERED, add_offered
from .options import HelpFormatter, examples, read_line

# As typed; the module's name has "_" for "-". The order is that of the help.
COMMANDS = (
    "segment",
    "video",
    "geotiff",
    "web",
    "compare",
    "compare-runs",
    "evaluate",
    "train",
    "export",
    "export-weights",
    "merge",
    "visualize",
    "analyse",
    "tables",
    "audit-table",
    "demo",
    "claims",
    "leaderboard",
    "benchmark",
    "methods",
    "weights",
    "new-method",
    "prepare",
    "check-dataset",
    "doctor",
)

DESCRIPTION = "Open-vocabulary segmentation: label every pixel with names that you type."
INTERRUPTED = 130  # what shells report after Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: arguments without the program's name; default those of the process.

    Returns:
        Exit code: 0 good, 1 a mistake or a failed check, 2 a command line that makes no sense.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        _complete(os.environ["COMP_LINE"])
    try:
        args = parse(argv)
    except SystemExit as stop:  # argparse has printed the help or the error
        return int(stop.code or 0)
    except UserError as error:  # a method that adds options, misspelt
        return _failed(str(error), "--verbose" in argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may hold what no text can
        sys.stdout.reconfigure(errors="backslashreplace")
    import logging  # and what it loads; the help goes without

    logging.raiseExceptions = args.verbose  # a log that cannot be written ends nothing
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format="%(levelname)s: %(message)s"
    )
    return guarded(lambda: load_command(args.command).run(args), verbose=args.verbose)


def _complete(line: str) -> None:
    """Answer a shell that asks how a line goes on, and end; extra ``completion``."""
    from argcomplete import autocomplete

    autocomplete(build_parser(line.split()))


def guarded(call: Callable[[], int], *, verbose: bool = False) -> int:
    """Run the work of a command or script; whatever goes wrong becomes one line.

    Args:
        call: gives the exit code.
        verbose: show the trace, too.
    """
    try:
        code = call()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # for example `ovsuite methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _failed(explain(error) or _unexpected(error, verbose), verbose)


def _unexpected(error: Exception, verbose: bool) -> str:
    """One line for what is no mistake of the person's; the trace is a switch away."""
    hint = "" if verbose else " (--verbose shows where)"
    text = str(error).strip()
    if "Traceback (most recent call last)" in text or text.startswith("-- Process"):
        text = text.splitlines()[-1]  # of the trace of another process
    return f"{type(error).__name__}: {' '.join(text.split())}{hint}"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read a command line.

    Args:
        argv: arguments without the program's name.

    Raises:
        SystemExit: after the help, or for a line that makes no sense.
    """
    return read_line(build_parser(argv), argv)


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Make the parser; only a command that ``argv`` names gets its own arguments.

    Args:
        argv: the command line that will be parsed.
    """
    parser = argparse.ArgumentParser(
        prog="ovsuite", description=DESCRIPTION, epilog="ovsuite COMMAND -h shows examples."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    parser.add_argument("--verbose", action="store_true", help="say more; on errors the trace")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = load_command(name)
        sub = subparsers.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=HelpFormatter,
        )
        sub.set_defaults(command=name)
        sub.add_argument("--verbose", action="store_true", default=argparse.SUPPRESS,
                         help=argparse.SUPPRESS)  # fmt: skip
        if name not in argv:
            continue
        module.add_arguments(sub)
        if name in OFFERED:
            add_offered(sub, name, argv[argv.index(name) + 1 :])
        else:
            sub.epilog = examples(module.EXAMPLES)
    return parser


class _Version(argparse.Action):
    """Finds out the version when it is asked for; that takes longer than a help text."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from .. import __version__

        print(f"{parser.prog} {__version__}")
        parser.exit()


def load_command(name: str) -> ModuleType:
    """Import the module of a subcommand, for example ``check-dataset``."""
    return importlib.import_module(f"{__package__}.{name.replace('-', '_')}")


def _failed(message: str, verbose: bool) -> int:
    if verbose:
        import traceback

        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    return 1
