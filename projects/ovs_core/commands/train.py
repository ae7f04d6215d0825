"""Train a method, as train_net.py does; the flags are Detectron2's.

--config-file takes a config's short name or a YAML file. KEY VALUE pairs at the end override it.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

SUMMARY = "train a method on one or many GPUs, or resume"
EXAMPLES = (
    "ovsuite train --config-file hclip/tiny SOLVER.MAX_ITER 3 MODEL.DEVICE cpu",
    "ovsuite train --config-file hclip/tiny --resume SOLVER.MAX_ITER 4 MODEL.DEVICE cpu",
)


def parents() -> list[ArgumentParser]:
    """Detectron2's own arguments."""
    from detectron2.engine import default_argument_parser

    return [default_argument_parser(epilog=" ")]


def add_arguments(parser: ArgumentParser) -> None:
    """Nothing beyond ``parents``."""


def main(args: Namespace) -> dict:
    """Run what the command line asks for, in one process of the run.

    Args:
        args: of Detectron2's argument parser.

    Returns:
        The evaluation results (empty on other processes than the main one).
    """
    from ..engine.run import run as run_config

    return run_config(args.config_file, args.opts, resume=args.resume, eval_only=args.eval_only)


def run(args: Namespace) -> int:
    """Start the processes of the run."""
    from ..engine.launching import run_distributed

    run_distributed(main, args)
    return 0
