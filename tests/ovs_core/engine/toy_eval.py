"""Evaluate the toy under a launcher: ``torchrun toy_eval.py WORLD OUTPUT``."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import toy

from ovs_core.engine.launching import run_distributed
from ovs_core.engine.run import run


def main(args):
    world, output = Path(args.world), Path(args.output)
    toy.register_world(world)
    results = run(str(world / "toy.yaml"), ["OUTPUT_DIR", str(output)], eval_only=True)
    if results:
        (output / "results.json").write_text(json.dumps(results["sem_seg"]))


if __name__ == "__main__":
    run_distributed(
        main,
        Namespace(
            world=sys.argv[1], output=sys.argv[2], num_gpus=1, num_machines=1,
            machine_rank=0, dist_url="auto",
        ),
    )  # fmt: skip
