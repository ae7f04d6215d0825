"""Train a method, or go on with a training; the flags of several GPUs are Detectron2's.

KEY VALUE pairs at the end override the config, for example MODEL.DEVICE cpu. train_net.py is the
same command, for torchrun and srun.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from . import options, ray_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectron2.config import CfgNode

    from ..engine.trainer import Results

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
    parser.add_argument(
        "--slurm", type=Path, metavar="FILE",
        help="hand an array of trainings to a cluster; FILE (YAML) has runs, parameters, cluster",
    )  # fmt: skip
    options.add_opts(parser)
    ray_options.add_engine(parser)


def run(args: Namespace) -> int:
    """Start the processes of the run, or hand runs to a cluster."""
    if args.engine == "ray":
        return _on_ray(args)
    ray_options.refuse_without_ray(args, {})
    if args.slurm is not None:
        return _submit(args)
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
    _verify(args, args.num_gpus * args.num_machines)
    args.checked = True


def _verify(args: Namespace, processes: int) -> CfgNode:
    from ..engine.config import load_cfg
    from ..engine.preflight import check_run

    cfg = load_cfg(*_overridden(args))
    check_run(cfg, processes=processes, resume=args.resume, eval_only=args.eval_only)
    return cfg


def _on_ray(args: Namespace) -> int:
    """Evaluate by Ray's actors."""
    from ..predict.ray_cluster import check_ray
    from ..predict.ray_evaluation import Evaluation, evaluate_on_ray

    if not args.eval_only:
        raise UserError("--engine ray evaluates alone; a training takes --num-gpus")
    if args.num_gpus > 1 or args.num_machines > 1 or args.slurm:
        raise UserError(
            "--engine ray shares the pictures itself; leave --num-gpus, --num-machines and --slurm "
            "out"
        )
    check_ray()
    work = Evaluation(*_overridden(args), resume=args.resume)
    resources = ray_options.resources_of(args)
    run_one(args, partial(evaluate_on_ray, work=work, resources=resources, block=args.block))
    return 0


def _submit(args: Namespace) -> int:
    """Verify all runs of an array, then hand them over."""
    from ..engine.run_folder import refuse_other_run
    from .dispatch import parse
    from .slurm import command_lines, read_array, submit

    array = read_array(args.slurm)
    if args.output or args.eval_only or args.num_machines > 1:
        raise UserError(
            "--slurm takes no --output (OUTPUT_DIR of each run), --eval-only or --num-machines "
            "(parameters: nodes)"
        )
    lines = command_lines(args, array)
    folders: dict[str, int] = {}
    for number, line in enumerate(lines):
        processes = array.tasks if array.tasks > 1 else args.num_gpus
        folder = str(_verify(parse(line), processes).OUTPUT_DIR)
        if folder in folders:
            raise UserError(
                f"{args.slurm}: runs {folders[folder]} and {number} write to {folder}; give each "
                "an OUTPUT_DIR"
            )
        folders[folder] = number
        if not args.resume:
            refuse_other_run(Path(folder))
    return int(submit(array, lines) > 0)


def _overridden(args: Namespace) -> tuple[str, list[str]]:
    config, pairs = options.find_config_of(args)
    return config, ["OUTPUT_DIR", str(args.output), *pairs] if args.output else pairs


def run_one(
    args: Namespace, evaluate: Callable[[CfgNode], Results] | None = None
) -> dict[str, Any]:
    """Do the work of one process of the run.

    Args:
        args: what was parsed.
        evaluate: see ``engine.run.run``.

    Returns:
        The evaluation results (empty on other processes than the main one).
    """
    from ..engine.run import run as run_config

    config, pairs = _overridden(args)
    return run_config(
        config, pairs,
        resume=args.resume, eval_only=args.eval_only, allow_changes=args.allow_changes,
        checked=getattr(args, "checked", False), evaluate=evaluate,
    )  # fmt: skip
