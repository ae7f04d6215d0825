"""What a method's project adds to a command.

The commands below read the options that they share, load the config, and hand both to the module
of their name in the folder ``commands`` of the config's project: `ovsuite merge` to
``projects/<project>/commands/merge.py``. Such a module has ``EXAMPLES``, ``add_arguments(parser)``
for options of its own, and ``run(cfg, args)``, which yields what is to be printed. No method is
named here: the files are looked for.
"""

from __future__ import annotations

import importlib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from ..errors import UserError
from ..methods.projects import SOURCE_ROOT, project_names
from . import options

OFFERED = ("visualize", "analyse", "merge")


def offering(command: str) -> list[str]:
    """List the projects that have something for a command."""
    return [
        name
        for name in project_names()
        if (SOURCE_ROOT / name / "commands" / f"{command}.py").is_file()
    ]


def load_offer(command: str, method: str) -> ModuleType:
    """Import what a method's project adds to a command.

    Args:
        command: one of ``OFFERED``.
        method: what ``--method`` takes.

    Raises:
        UserError: for an unknown method, or one whose project adds nothing.
    """
    project = project_of(method)
    if project not in offering(command):
        raise UserError(
            f"{project} has nothing for `ovsuite {command}`; these have: "
            f"{', '.join(offering(command)) or 'none'}"
        )
    return importlib.import_module(f"{project}.commands.{command}")


def project_of(method: str) -> str:
    """Name the project that a config belongs to.

    Args:
        method: what ``--method`` takes.

    Raises:
        UserError: if there is no such config.
    """
    first = method.partition("/")[0]
    if first in project_names() and not Path(method).suffix:
        return first
    from detectron2.modeling import META_ARCH_REGISTRY

    from ..engine.config import load_cfg
    from ..methods.configs import find_model

    cfg = load_cfg(find_model(method)[0])
    return str(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).__module__).partition(".")[0]


def add_offered(parser: ArgumentParser, command: str, argv: Sequence[str]) -> None:
    """Add the options of the project that the command line names, and tell of it under ``-h``.

    Args:
        parser: of the command, with the options that all methods share.
        command: one of ``OFFERED``.
        argv: the command line behind the command's name.
    """
    finder = ArgumentParser(prog=parser.prog, add_help=False)
    options.add_method(finder)
    args, rest = finder.parse_known_args(list(argv))
    method = args.method or next((word for word in rest[:1] if not word.startswith("-")), None)
    if method is None:
        parser.epilog = (
            f"methods: {', '.join(offering(command))}\n"
            f"`ovsuite {command} METHOD -h` shows the options and examples of one."
        )
        return
    module = load_offer(command, method)
    parser.epilog = options.examples(module.EXAMPLES)
    module.add_arguments(parser)


def run_offer(command: str, args: Namespace) -> int:
    """Let a method's project do its part, and print what it has to say as it comes."""
    cfg = options.load_config_of(args)
    lines: Iterator[object] = load_offer(command, args.method).run(cfg, args)
    for line in lines:
        print(line, flush=True)
    return 0
