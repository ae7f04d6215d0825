"""Compare two ways to train, each trained with several seeds.

Give the output folders of the trainings of one config, and after --with those of the other; runs of
the same seed are a pair. For every figure of their evaluations: mean and standard deviation of
both, the mean difference with its 95 % interval, and the p value of the paired t-test.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from . import options

SUMMARY = "a paired table of two configs, each trained with several seeds"
EXAMPLES = (
    "ovsuite compare-runs output/freeze_0 output/freeze_1 --with output/lora_0 output/lora_1",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="trainings of one config")
    parser.add_argument(
        "--with", dest="others", nargs="+", type=Path, required=True, metavar="RUN",
        help="trainings of the other config, with the same seeds",
    )  # fmt: skip
    options.add_output(parser)


def run(args: Namespace) -> int:
    """Compare; write the table where --output says."""
    from ..files.writing import atomic_write, check_output_dir, write_json
    from ..reports.paired import (
        differing_keys,
        format_differences,
        pair_runs,
        plain,
        read_run,
    )

    first, second = ([read_run(folder) for folder in group] for group in (args.runs, args.others))
    found = pair_runs(first, second)
    table = format_differences(found, (args.runs[0].name, args.others[0].name))
    changed = [
        f"{key}: {one}, {other}"
        for key, (one, other) in differing_keys(first[0], second[0]).items()
    ]
    print("\n".join(["What differs in the configs:", *(f"  {line}" for line in changed or ["-"])]))
    print(f"\n{table}")
    if args.output:
        folder = check_output_dir(args.output)
        atomic_write(folder / "paired.md", table + "\n")
        write_json(folder / "paired.json", plain(found))
        print(f"\ntable     {folder / 'paired.md'}")
    return 0
