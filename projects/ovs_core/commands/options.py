"""The options that commands share: each has one name, one meaning and one wording, here.

Every command that takes a method reads its line in the same way: ``METHOD`` in front stands for
``--method METHOD``, and ``KEY VALUE`` pairs at the end, with or without ``--opts`` before them,
override the config.
"""

from __future__ import annotations

import argparse
import re
import sys
from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loading a config takes Detectron2; the help must not
    from detectron2.config import CfgNode

METHOD = (
    "config such as cliptrase/vitb16 (`ovsuite methods` lists all), YAML file, or the output "
    "folder of a training; `segment` and `export` choose one that is ready if none is named"
)
WEIGHTS = "checkpoint of the method; else that of the training folder or of the config"
WORDS = 'names, as "sofa|couch, black cat, background: wall", or a .txt, .csv or .json file'
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of a description, and shows the default of an option that has one."""

    def _get_help_string(self, action: Action) -> str | None:
        default = action.default
        if default in (None, False, "", argparse.SUPPRESS) or default in ([], ()):
            return action.help
        return f"{action.help} (%(default)s)"


def examples(lines: Sequence[str]) -> str:
    """Lay command lines out for the end of a help text."""
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def tool_parser(description: str | None) -> ArgumentParser:
    """Give the parser of a script whose docstring is its help."""
    return ArgumentParser(description=description, formatter_class=HelpFormatter)


def add_method(parser: ArgumentParser, *, required: bool = True) -> None:
    """Add ``--method``, or ``--config-file`` as Detectron2 spells it.

    Args:
        parser: of a command that takes one method.
        required: whether it must be named; else ``picture_options.settle_method`` chooses.
    """
    parser.set_defaults(needs_method=required)
    parser.add_argument("--method", "--config-file", metavar="METHOD", help=METHOD)


def add_methods(parser: ArgumentParser, *, required: bool) -> None:
    """Add ``--methods`` for several; ``--method A --method B`` is understood as its abbreviation.

    Args:
        parser: of a command that sets methods side by side.
        required: whether the command needs one at least.
    """
    parser.add_argument(
        "--methods", nargs="+", action="extend", default=None if required else [],
        required=required, metavar="METHOD", help=METHOD,
    )  # fmt: skip


def add_weights(parser: ArgumentParser, *, several: bool = False) -> None:
    """Add ``--weights``.

    Args:
        parser: of a command that builds methods.
        several: one for each of ``--methods``, in their order.
    """
    if several:
        parser.add_argument(
            "--weights", nargs="+", action="extend", default=[], metavar="FILE", help=WEIGHTS
        )
    else:
        parser.add_argument("--weights", default="", metavar="FILE", help=WEIGHTS)


def add_words(parser: ArgumentParser, *, required: bool = False) -> None:
    """Add ``--words``."""
    parser.add_argument("--words", required=required, help=WORDS)


def add_output(
    parser: ArgumentParser, default: str | None = None, *, required: bool = False
) -> None:
    """Add ``--output``.

    Args:
        parser: of a command that writes.
        default: where it writes if nothing is said; None if it then writes nowhere, or where the
            config says.
        required: whether it must be given.
    """
    parser.add_argument(
        "--output", type=Path, default=default, required=required, metavar="PATH",
        help="file or folder to write",
    )  # fmt: skip


def add_device(parser: ArgumentParser, default: str = "auto") -> None:
    """Add ``--device``.

    Args:
        parser: of a command that computes.
        default: "" for what the config says.
    """
    parser.add_argument("--device", default=default, help="cpu, cuda, cuda:1 or auto")


def add_opts(parser: ArgumentParser) -> None:
    """Add ``--opts``, which ``read_line`` completes."""
    parser.add_argument(
        "--opts", nargs="+", action="extend", default=[], metavar="KEY VALUE",
        help="config overrides, anywhere; last on the line --opts itself may be left out",
    )  # fmt: skip


def add_model(parser: ArgumentParser, *, required: bool = True) -> None:
    """Add what names one model: ``--method``, ``--weights``, ``--device`` and ``--opts``.

    Args:
        parser: of a command that builds one.
        required: whether the method must be named, see ``add_method``.
    """
    add_method(parser, required=required)
    add_weights(parser)
    add_device(parser)
    add_opts(parser)


def add_overwrite(parser: ArgumentParser) -> None:
    """Add ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def add_json(parser: ArgumentParser) -> None:
    """Add ``--json``, see ``reporting.py``."""
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the report as JSON too; - prints it alone"
    )


def add_dataset(parser: ArgumentParser) -> None:
    """Add ``--dataset``."""
    parser.add_argument(
        "--dataset", default="", metavar="NAME", help="registered dataset; else the config's"
    )


def add_pictures(parser: ArgumentParser) -> None:
    """Add ``--pictures``."""
    parser.add_argument(
        "--pictures", nargs="+", type=Path, default=[], metavar="PATH",
        help="own pictures, or folders of them",
    )  # fmt: skip


def add_samples(parser: ArgumentParser, default: int | None = None) -> None:
    """Add ``--samples``.

    Args:
        parser: of a command that goes through some pictures of a dataset.
        default: how many; None for all.
    """
    parser.add_argument(
        "--samples", type=natural, default=default, metavar="N", help="how many pictures"
    )


def add_batch(parser: ArgumentParser) -> None:
    """Add ``--batch``.

    Args:
        parser: of a command that computes on pictures.
    """
    parser.add_argument(
        "--batch", type=positive, default=1, metavar="N",
        help="how many pictures go through a network together; without training, those of one size",
    )  # fmt: skip


def add_only(parser: ArgumentParser) -> None:
    """Add ``--only``.

    Args:
        parser: of a command that measures rows.
    """
    parser.add_argument(
        "--only", type=comma_list, default=[], metavar="A,B",
        help="rows, or groups of them, by name; else the usual ones",
    )  # fmt: skip


def add_seeds(parser: ArgumentParser, default: str = "") -> None:
    """Add ``--seeds``: each training is repeated with these.

    Args:
        parser: of the command.
        default: as it is typed; "" for the config's own seed.
    """
    parser.add_argument(
        "--seeds", type=seed_list, default=default or [], metavar="0,1,2",
        help="train each row with these",
    )  # fmt: skip


def add_size(parser: ArgumentParser, default: str | None = None, *, required: bool = False) -> None:
    """Add ``--size``.

    Args:
        parser: of a command that works on one size of picture.
        default: HEIGHTxWIDTH.
        required: whether it must be given.
    """
    parser.add_argument(
        "--size", type=size, default=default, required=required, metavar="HxW",
        help="height and width of the picture, such as 512x683",
    )  # fmt: skip


def add_workers(parser: ArgumentParser) -> None:
    """Add ``--workers``."""
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="processes; else as many as there is room for"
    )


def comma_list(text: str) -> list[str]:
    """Read names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def seed_list(text: str) -> list[int]:
    """Read ``0,1,2``."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentTypeError(f"'{text}' is no list of numbers such as 0,1,2") from None


def natural(text: str) -> int:
    """Read a whole number from 0."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"'{text}' is no whole number")
    return int(text)


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is no whole number above 0")
    return int(text)


def amount(text: str) -> float:
    """Read a number that is not below 0, such as 0.5."""
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", text):
        raise ArgumentTypeError(f"'{text}' is no number from 0 on")
    return float(text)


def size(text: str) -> tuple[int, int]:
    """Read HEIGHTxWIDTH, such as 512x683."""
    match = re.fullmatch(r"(\d+)x(\d+)", text.lower())
    if not match or not int(match[1]) or not int(match[2]):
        raise ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH, for example 512x683")
    return int(match[1]), int(match[2])


def read_line(parser: ArgumentParser, argv: Sequence[str] | None = None) -> Namespace:
    """Parse a command line; ``METHOD`` may stand in front and pairs at the end.

    Args:
        parser: of the command or script.
        argv: arguments; default those of the process.

    Raises:
        SystemExit: after the help, or for a line that makes no sense.
    """
    rest, pairs = _take_opts(sys.argv[1:] if argv is None else argv)
    args, words = parser.parse_known_args(rest)
    if "opts" in args:
        args.opts = [*args.opts, *pairs]
    elif pairs:
        parser.error("unrecognized arguments: --opts")
    if "method" in args and args.method is None and words and not words[0].startswith("-"):
        if args.needs_method or not _KEY.fullmatch(words[0]):
            args.method = words.pop(0)
    if "opts" in args and words and _KEY.fullmatch(words[0]):
        args.opts, words = [*words, *args.opts], [w for w in words if w.startswith("--")]
    if words:
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    if "method" in args and args.method is None and args.needs_method:
        parser.error("name the method: METHOD in front, or --method METHOD")
    return args


def _take_opts(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the pairs behind each ``--opts`` out of a line; a value may begin with a dash."""
    rest, pairs, words = [], [], list(argv)
    while words:
        word = words.pop(0)
        if word != "--opts" or not words or not _KEY.fullmatch(words[0]):
            rest.append(word)
            continue
        while len(words) > 1 and _KEY.fullmatch(words[0]):
            pairs += [words.pop(0), words.pop(0)]
    return rest, pairs


def find_config_of(args: Namespace) -> tuple[str, list[str]]:
    """Give the config file that the options name, and its overrides.

    Args:
        args: with what ``add_model`` adds.

    Returns:
        YAML file, and KEY VALUE pairs; those of ``--opts`` last, so that they win. A training
        begins without the weights that the suite ships.
    """
    from ..methods.configs import find_model

    config, found = find_model(args.method, shipped=getattr(args, "eval_only", True))
    weights = args.weights or found
    pairs = ["MODEL.WEIGHTS", str(weights)] if weights else []
    pairs += ["MODEL.DEVICE", args.device] if args.device else []
    return str(config), [*pairs, *args.opts]


def load_config_of(args: Namespace) -> CfgNode:
    """Load the config that the options name.

    Args:
        args: with what ``add_model`` adds.
    """
    from ..engine.config import load_cfg

    return load_cfg(*find_config_of(args))
