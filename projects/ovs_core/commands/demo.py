"""Show what every method makes of the embedded world, with the weights that come with the suite.

Measures all methods on 200 drawn scenes, draws a sheet of pictures, and writes a report that opens
in any browser without a network. Nothing is trained and nothing is downloaded.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from . import options

SUMMARY = "measure and draw all methods on the embedded world"
EXAMPLES = ("ovsuite demo", "ovsuite demo --samples 2 --output output/demo")
PROCESSES = min(2, os.cpu_count() or 1)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_samples(parser, 6)
    parser.add_argument(
        "--processes", type=options.positive, default=PROCESSES, metavar="N",
        help="how many methods are measured at once",
    )  # fmt: skip
    options.add_output(parser, "output/demo")
    options.add_device(parser)
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Run the demo, print its tables, and the path of the report last.

    Returns:
        0 if every method ran, else 1.
    """
    from ..reports.comparison import show_result
    from ..reports.demo import joined, run_demo

    demo = run_demo(
        args.output,
        options=["MODEL.DEVICE", args.device, *args.opts],
        samples=args.samples,
        processes=args.processes,
    )
    for section, result in demo.results.items():
        show_result(joined(section), result)
    print(f"\ntable     {args.output / 'table.md'}")
    if demo.sheet:
        print(f"pictures  {demo.sheet}")
    print(f"report    {demo.page}")
    return int(demo.missing > 0)
