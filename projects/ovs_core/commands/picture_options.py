"""The options of commands that label a person's pictures; see ``options``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from .options import natural, positive

if TYPE_CHECKING:
    from ..files.addresses import Place


def add_inputs(parser: ArgumentParser, *, required: bool) -> None:
    """Add the pictures that a line names, and ``--urls``; ``find_inputs`` reads them.

    Args:
        parser: of a command that takes pictures and videos.
        required: whether there must be one.
    """
    parser.add_argument(
        "inputs", nargs="+" if required else "*",
        help="pictures, folders, videos, WebDataset (.tar) and Parquet shards, lists (.txt; - is "
        "one from standard input), patterns such as '**/*.jpg', and addresses, such as "
        "s3://bucket/shard-*.tar",
    )  # fmt: skip
    parser.add_argument(
        "--urls", action="store_true", help="take inputs from the web, too (http, https)"
    )


def find_inputs(args: Namespace) -> list[Place]:
    """List the files that a line names.

    Args:
        args: with what ``add_inputs`` adds.

    Raises:
        UserError: for what does not exist.
    """
    from ..predict.named_inputs import expand_inputs
    from ..predict.reading import find_files

    return find_files(expand_inputs(args.inputs, urls=args.urls))


def add_rules(parser: ArgumentParser) -> None:
    """Add what makes labels of scores: ``--min-area``, ``--smooth`` and ``--unknown``."""
    parser.add_argument(
        "--min-area", type=float, default=0.0, metavar="SHARE",
        help="take out what is smaller than this share of the picture, such as 0.001",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=natural, default=0, metavar="STEPS",
        help="average scores along the colours of the picture (PAMR), such as 10 steps",
    )  # fmt: skip
    parser.add_argument(
        "--unknown", type=float, default=0.0, metavar="CONFIDENCE",
        help="call pixels unknown whose best word is less sure than this, such as 0.3",
    )  # fmt: skip


def add_every(parser: ArgumentParser) -> None:
    """Add ``--every``."""
    parser.add_argument("--every", type=positive, default=1, help="each n-th frame of a video")


def rules_of(args: Namespace) -> dict[str, Any]:
    """Give what ``add_rules`` adds, as far as it was given, by the names that a predictor has."""
    named = {key: getattr(args, key) for key in ("min_area", "smooth", "unknown")}
    return {key: value for key, value in named.items() if value}


def settle_method(args: Namespace) -> None:
    """Choose the best config that is ready, and name it, if the line names none.

    Raises:
        UserError: if ``--weights`` are given to what nobody named.
    """
    from ..errors import UserError
    from ..reports.catalog import best_config

    if args.method is not None:
        return
    if args.weights:
        raise UserError("--weights needs --method: the config that the checkpoint belongs to")
    args.method, why = best_config()
    print(f"method  {args.method}: {why}", file=sys.stderr)


def add_max_pixels(parser: ArgumentParser) -> None:
    """Add ``--max-pixels``, see ``settle_max_pixels``."""
    parser.add_argument(
        "--max-pixels", type=float, metavar="MILLIONS",
        help="largest picture in millions of pixels; else OVSUITE_MAX_PIXELS, or 178 (page: 25)",
    )  # fmt: skip


def settle_max_pixels(stated: float | None, default: float | None = None) -> float:
    """Make what ``--max-pixels`` states the limit of this process, and give the limit in force.

    Args:
        stated: in millions; None if it was not given.
        default: where the variable ``OVSUITE_MAX_PIXELS`` says nothing either; None for Pillow's.

    Raises:
        UserError: if it is no number above 0.
    """
    from ..errors import UserError
    from ..files.raster import limit_pixels, pixel_limit

    if stated is not None:
        if not 0 < stated < float("inf"):
            raise UserError("--max-pixels must be a number above 0")
        limit_pixels(stated)
    return pixel_limit(default)
