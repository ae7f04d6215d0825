"""Train a method, or go on with a training; the flags of several GPUs are Detectron2's.

KEY VALUE pairs at the end override the config, for example MODEL.DEVICE cpu. train_net.py is the
same command, for torchrun and srun.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from . import options

SUMMARY = "train a method on one or many GPUs, or resume"
EXAMPLES = (
    "ovsuite train --config-file hclip/tiny SOLVER.MAX_ITER 3 MODEL.DEVICE cpu",
    "ovsuite train --config-file hclip/tiny --resume SOLVER.MAX_ITER 4 MODEL.DEVICE cpu",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command, among them all flags of Detectron2."""
    options.add_method(parser)
    options.add_weights(parser)
    options.add_output(parser)
    options.add_device(parser, "")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the newest checkpoint of OUTPUT_DIR",
    )
    parser.add_argument(
        "--allow-changes", nargs="+", default=[], metavar="KEY",
        help="config keys that --resume may find changed, although that makes it another run",
    )  # fmt: skip
    parser.add_argument("--eval-only", action="store_true", help="evaluate and stop")
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs of each machine")
    parser.add_argument("--num-machines", type=int, default=1, help="machines of the run")
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="number of this machine, from 0"
    )
    parser.add_argument("--dist-url", default="", help="where the first machine listens")
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Start the processes of the run."""
    from detectron2.engine import default_argument_parser

    from ..engine.launching import run_distributed

    args.dist_url = args.dist_url or default_argument_parser().get_default("dist_url")
    pairs = options.find_config_of(args)[1]
    asked = dict(zip(pairs[::2], pairs[1::2], strict=False)).get("MODEL.DEVICE", "")
    run_distributed(run_one, args, check=check, on_cpu=asked == "cpu")
    return 0


def check(args: Namespace) -> None:
    """Verify a run in the process that will start the others; they need not do so again.

    Args:
        args: what was parsed.
    """
    from ..engine.config import load_cfg
    from ..engine.preflight import check_run

    config, pairs = _overridden(args)
    processes = args.num_gpus * args.num_machines
    cfg = load_cfg(config, pairs)
    check_run(cfg, processes=processes, resume=args.resume, eval_only=args.eval_only)
    args.checked = True


def _overridden(args: Namespace) -> tuple[str, list[str]]:
    config, pairs = options.find_config_of(args)
    return config, ["OUTPUT_DIR", str(args.output), *pairs] if args.output else pairs


def run_one(args: Namespace) -> dict[str, Any]:
    """Do the work of one process of the run.

    Args:
        args: what was parsed.

    Returns:
        The evaluation results (empty on other processes than the main one).
    """
    from ..engine.run import run as run_config

    config, pairs = _overridden(args)
    return run_config(
        config, pairs,
        resume=args.resume, eval_only=args.eval_only, allow_changes=args.allow_changes,
        checked=getattr(args, "checked", False),
    )  # fmt: skip
