#!/usr/bin/env python
"""Make the weights that the suite ships for the embedded world: train, evaluate, write.

    python tools/train_embedded_methods.py                    # all, into output/embedded_methods
    python tools/train_embedded_methods.py --only hclip/tiny  # one

Each config is trained from nothing, evaluated, and written in half precision to ``weights`` of its
project, with its card. A config whose training is finished is not trained again, an unfinished
one goes on. The time of each is printed at the end.
"""

from __future__ import annotations

import time
from argparse import Namespace

from ovs_core.commands.options import add_device, add_output, read_line, tool_parser
from ovs_core.engine.run import run
from ovs_core.engine.train_once import train_once
from ovs_core.errors import check_choice
from ovs_core.export.shared_weights import export_weights
from ovs_core.methods.projects import SOURCE_ROOT

# Config -> further options; the semantic MAFT+ is measured beside the panoptic one.
CONFIGS: dict[str, tuple[str, ...]] = {
    "hclip/tiny": (),
    "hclip/tiny_catseg": (),
    "hclip/detection/tiny": (),
    "sptseg/tiny": (),
    "sptseg/tiny_zegclip": (),
    "clipteacher/tiny": (),
    "maftplus/tiny": ("DATASETS.TEST", "('embedded_panoptic_val',)"),
    "maftplus/tiny_panoptic": (),
    "maftplus/tiny_fcclip": (),
}


def main(argv: list[str] | None = None) -> None:
    """Make what is asked for and say how long it took."""
    args = parse_arguments(argv)
    for name in args.only:
        check_choice("--only", name, CONFIGS)
    seconds = {name: make(name, args) for name in args.only or CONFIGS}
    for name, taken in seconds.items():
        print(f"{name:28} {taken / 60:5.1f} min")


def make(name: str, args: Namespace) -> float:
    """Train, evaluate and write one config.

    Returns:
        Seconds that it took.
    """
    start, folder = time.perf_counter(), args.output / name
    options = (*CONFIGS[name], "MODEL.DEVICE", args.device)
    weights, _ = train_once(name, folder, options)
    if not list(folder.glob("inference/*/*_evaluation.json")):
        places = ("MODEL.WEIGHTS", str(weights), "OUTPUT_DIR", str(folder))
        run(name, (*options, *places), eval_only=True)
    project, _, config = name.partition("/")
    file = SOURCE_ROOT / project / "weights" / f"{config}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    export_weights(folder, file, half=True, overwrite=True)
    return time.perf_counter() - start


def parse_arguments(argv: list[str] | None = None) -> Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="CONFIG", help="these alone")
    add_output(parser, "output/embedded_methods")
    add_device(parser, "cpu")
    return read_line(parser, argv)


if __name__ == "__main__":
    main()
