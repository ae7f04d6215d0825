"""Evaluate shipped weights on a few embedded pictures under a launcher, for the distributed test.

``torchrun evaluate_part.py OUTPUT`` evaluates what comes with every tiny config and writes
``OUTPUT/results.json``.
"""

import json
import sys
from argparse import Namespace
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm

from ovs_core.engine.launching import run_distributed
from ovs_core.engine.run import run
from ovs_core.methods.configs import find_model

COUNT = 7  # odd, so that two processes get different shares


def register_part(name):
    """Register the first pictures of a set under a name of their own; give the name."""
    part = f"{name}_part"
    records = DatasetCatalog.get(name)[:COUNT]
    DatasetCatalog.register(part, lambda: records)
    MetadataCatalog[part] = type(MetadataCatalog.get(name))(
        **{**MetadataCatalog.get(name).as_dict(), "name": part}
    )
    return part


def main(args):
    parts = {kind: register_part(f"embedded_{kind}_val") for kind in ("sem_seg", "panoptic")}
    results = {}
    for config in ("tiny", "tiny_panoptic", "tiny_fcclip"):
        part = parts["sem_seg" if config == "tiny" else "panoptic"]
        path, weights = find_model(f"maftplus/{config}")
        options = [
            "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", weights, "DATASETS.TEST", f"('{part}',)",
            "OUTPUT_DIR", f"{args.output}/{config}",
        ]  # fmt: skip
        results[config] = run(str(path), options, eval_only=True)
    if comm.is_main_process():
        Path(args.output, "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    (output,) = sys.argv[1:]
    launch = {"num_gpus": 1, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}
    run_distributed(main, Namespace(output=output, **launch))
