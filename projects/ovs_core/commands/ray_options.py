"""The options of commands that can hand their pictures to Ray."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from . import options

if TYPE_CHECKING:
    from ..predict.ray_cluster import Resources


def add_engine(parser: ArgumentParser) -> Any:
    """Add ``--engine`` and what goes with Ray.

    Args:
        parser: of a command that goes through many pictures.

    Returns:
        The group of options, for further ones.
    """
    group = parser.add_argument_group("many pictures on Ray")
    group.add_argument(
        "--engine", choices=("loop", "ray"), default="loop",
        help="loop: this process makes all pictures; ray: workers do, block by block (no training)",
    )  # fmt: skip
    group.add_argument(
        "--ray-address", default="", metavar="ADDRESS",
        help="of a cluster, or auto for that of this machine; else Ray is started here, and ended",
    )  # fmt: skip
    options.add_workers(parser)
    group.add_argument(
        "--cpus-per-worker", type=options.positive, default=1, metavar="N",
        help="cores, and threads, of each",
    )  # fmt: skip
    group.add_argument(
        "--gpus-per-worker", type=options.amount, metavar="X",
        help="such as 0.5 for two workers to a GPU; else 1 where there are GPUs",
    )  # fmt: skip
    group.add_argument(
        "--block", type=options.positive, default=64, metavar="N",
        help="how many pictures a worker takes at a time",
    )  # fmt: skip
    return group


def refuse_without_ray(args: Namespace, more: Mapping[str, object]) -> None:
    """Refuse options that need Ray where it is not asked for.

    Args:
        args: what was parsed.
        more: further options of the command that need it, with what was given.

    Raises:
        UserError: names the option.
    """
    given = {name: getattr(args, name) for name in ("ray_address", "workers", "gpus_per_worker")}
    of_ray = {
        f"--{name.replace('_', '-')}": value not in ("", None) for name, value in given.items()
    }
    for option, is_given in {**of_ray, **more}.items():
        if args.engine != "ray" and is_given:
            raise UserError(f"{option} needs --engine ray")


def resources_of(args: Namespace) -> Resources:
    """Give what the actors may use."""
    from ..predict.ray_cluster import Resources

    return Resources(args.ray_address, args.workers, args.cpus_per_worker, args.gpus_per_worker)
