"""Handing trainings to a cluster as one job array, through submitit."""

from __future__ import annotations

import signal
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, check_choice
from ..files.yaml_files import read_yaml

CLUSTERS = ("slurm", "local")


@dataclass(frozen=True)
class JobArray:
    """What a file for ``--slurm`` says.

    Attributes:
        runs: of each job: config key -> value, and ``config`` where it has a config of its own.
        cluster: ``slurm``, or ``local`` for processes of this machine.
        folder: where submitit keeps its files and the logs.
        parameters: what each job gets, as submitit names it.
    """

    runs: Sequence[Mapping[str, Any]]
    cluster: str = "slurm"
    folder: str = "output/jobs"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Processes that a job starts."""
        return int(self.parameters.get("nodes", 1)) * int(self.parameters.get("tasks_per_node", 1))


@dataclass(frozen=True)
class Training:
    """A command line as a job.

    Attributes:
        line: arguments of ``ovsuite``.
    """

    line: Sequence[str]

    def __call__(self) -> None:
        """Train, or go on; what a cluster wants back is handed over with a checkpoint."""
        from . import main

        try:
            code = main(self.line)
        except SystemExit as stop:
            if stop.code != 128 + signal.SIGUSR2:
                raise
            signal.raise_signal(signal.SIGUSR2)  # to submitit, which asks for the job again
            return
        if code:
            raise RuntimeError(f"ovsuite {' '.join(self.line)}: ended with exit code {code}")

    def checkpoint(self) -> Any:
        """What submitit starts when it has the job back: the same, which resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def read_array(path: str | Path) -> JobArray:
    """Read a file for ``--slurm``.

    Raises:
        UserError: names what is wrong in it.
    """
    content = read_yaml(path)
    for key in content:
        check_choice(f"{path}: key", key, JobArray.__dataclass_fields__)
    runs = content.get("runs")
    if not (isinstance(runs, list) and runs and all(isinstance(run, dict) for run in runs)):
        raise UserError(
            f"{path}: runs must be a list of maps of config keys, such as "
            "- {OUTPUT_DIR: output/run_0, SEED: 0}"
        )
    if not isinstance(content.get("parameters", {}), dict):
        raise UserError(f"{path}: parameters must be a map, such as {{gpus_per_node: 4}}")
    array = JobArray(**content)
    check_choice(f"{path}: cluster", array.cluster, CLUSTERS)
    return array


def command_lines(args: Namespace, array: JobArray) -> list[list[str]]:
    """Spell the jobs of an array out.

    Args:
        args: of the command that submits; what it says holds for every run.
        array: the runs.

    Returns:
        Arguments of ``ovsuite`` for each job, which go on with what they find.
    """
    stated = ["--num-gpus", str(args.num_gpus)]
    stated += ["--device", args.device] if args.device else []
    stated += ["--weights", args.weights] if args.weights else []
    lines = []
    for run in array.runs:
        config = [str(run.get("config") or args.method or "")]
        pairs = [
            str(part) for key, value in run.items() if key != "config" for part in (key, value)
        ]
        lines.append(["train", "--config-file", *config, "--resume", *stated, *args.opts, *pairs])
    return lines


def submit(array: JobArray, lines: Sequence[Sequence[str]]) -> int:
    """Hand the jobs over; those of this machine are waited for.

    Args:
        array: where they go.
        lines: of ``command_lines``.

    Returns:
        How many failed, as far as that is known.

    Raises:
        UserError: if submitit, the cluster or a parameter is not there.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError(f"--slurm needs submitit ({error}): pip install -e '.[slurm]'") from error
    try:
        executor = submitit.AutoExecutor(folder=array.folder, cluster=array.cluster)
        executor.update_parameters(**array.parameters)
    except (RuntimeError, NameError, TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{array.cluster}: the jobs cannot be submitted ({reason})") from error
    with executor.batch():
        jobs = [executor.submit(Training(line)) for line in lines]
    for job in jobs:
        print(f"job {job.job_id}  {job.paths.stdout}")
    if array.cluster != "local":
        return 0
    return sum(job.exception() is not None for job in jobs)
