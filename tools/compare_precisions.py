#!/usr/bin/env python
"""Train every small config in float32, bfloat16 and float16, and set their losses side by side.

    python tools/compare_precisions.py --threads 1                       # all: some hours on a CPU
    python tools/compare_precisions.py --small --batch 2 --threads 1     # half an hour
    python tools/compare_precisions.py --only sptseg/tiny --steps 20 --seeds 0,1,2

A loss is the mean of the last ten steps. With ``--seeds`` how much half precision is off is a mean
over trainings, and its deviation says how far roundings alone move one. All precisions of a config
and a seed see the same pictures. On a CPU, which takes long for half precision, matrix products and
convolutions of half precision numbers are computed in float32 and rounded, as a GPU's tensor cores
do. A training that is finished in ``--output`` is not repeated.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from tabulate import tabulate

from ovs_core.commands import options
from ovs_core.engine.config import load_cfg
from ovs_core.engine.train_loader import seed_everything
from ovs_core.engine.trainer import Trainer
from ovs_core.errors import check_choice
from ovs_core.files.json_files import parse_json
from ovs_core.files.writing import write_json
from ovs_core.methods.configs import find_config, list_configs
from ovs_core.reports.catalog import learns
from ovs_core.tensor.half_products import WideProducts

LAST = 10  # steps whose mean is shown
PRECISIONS = {
    "float32": ("SOLVER.AMP.ENABLED", "False"),
    "bfloat16": ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bfloat16"),
    "float16": ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "float16"),
}
# Pictures of a step where the config's own number must follow.
GROUPS = {"clipteacher/tiny": "MODEL.CLIPTEACHER.PICTURES_PER_GROUP"}
# Keys without which a config refuses a step of few pictures.
FEW = {"hclip/detection/mosaic_tiny": ("MODEL.HCLIP_MOSAIC.GRIDS", "[1]")}
_CROP = ("INPUT.CROP.SIZE", "[64,64]", "INPUT.MIN_SIZE_TRAIN", "(64,)",
         "INPUT.SIZE_DIVISIBILITY", "-1")  # fmt: skip
_MMSEG = ("INPUT.MMSEG.CROP", "64", "INPUT.MMSEG.SHORT_SIDE", "96")
# Config, or its project -> keys of --small.
SMALL = {
    "hclip": ("MODEL.CATSEG.IMAGE_SIZE", "48", *_CROP),
    "hclip/detection/mosaic_tiny": ("MODEL.HCLIP_MOSAIC.CANVAS", "96"),
    "hclip/detection/tiny": ("INPUT.IMAGE_SIZE", "64"),
    "sptseg": ("MODEL.SPTSEG.CROP", "64", *_MMSEG),
    "clipteacher": _MMSEG,
    "maftplus": ("INPUT.MIN_SIZE_TRAIN", "(128,)", "INPUT.CROP.SIZE", "[128,128]"),
    "maftplus/tiny_fcclip": ("INPUT.IMAGE_SIZE", "128"),
    "maftplus/tiny_panoptic": ("INPUT.IMAGE_SIZE", "128"),
    "san": _CROP,
}
# Config -> the one whose float32 training it stands on, and the key that takes it.
STANDS_ON = {"maftplus/maft_tiny": ("maftplus/maft_proposals_tiny", "MODEL.MAFT.PROPOSALS")}


def train(name: str, keys: Sequence[str], folder: Path, steps: int) -> list[float]:
    """Train the first steps of a config.

    Args:
        name: of the config.
        keys: KEY VALUE overrides.
        folder: of the run, which leaves its weights there.
        steps: how many.

    Returns:
        Sum of the losses of each step.
    """
    # The schedule is the config's own: MAX_ITER stays.
    fixed = ["DATASETS.TEST", "()", "TEST.BEST_METRIC", "", "OUTPUT_DIR", str(folder)]
    cfg = load_cfg(find_config(name), [*fixed, *keys])
    seed_everything(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    found = []
    for number in range(steps):
        with EventStorage(number) as storage, _cores(cfg.MODEL.DEVICE):
            trainer.iter = number
            trainer.run_step()
        trainer.scheduler.step()
        found.append(storage.latest()["total_loss"][0])
    trainer.checkpointer.save("model_final", iteration=steps - 1)
    return found


def _cores(device: str) -> AbstractContextManager[Any]:
    return WideProducts() if torch.device(device).type == "cpu" else nullcontext()


def losses_of(name: str, precision: str, seed: int | None, args: Namespace) -> list[float]:
    """Losses of a training, which is run unless it was before.

    Args:
        name: of the config.
        precision: of ``PRECISIONS``.
        seed: None for the config's.
        args: of the command line.
    """
    folder = args.output / name / precision / ("" if seed is None else f"seed_{seed}")
    file = folder / "losses.json"
    if file.is_file() and len(kept := parse_json(file.read_text(encoding="utf-8"))) == args.steps:
        return list(kept)
    keys = ["MODEL.DEVICE", args.device, *PRECISIONS[precision]]
    keys += [] if seed is None else ["SEED", str(seed)]
    if args.batch:
        keys += ["SOLVER.IMS_PER_BATCH", str(args.batch)]
        keys += [GROUPS[name], str(args.batch)] if name in GROUPS else []
        keys += FEW.get(name, ())
    if args.small:
        keys += SMALL.get(name, SMALL[name.split("/")[0]])
    if name in STANDS_ON:
        first, key = STANDS_ON[name]
        losses_of(first, "float32", None, args)
        keys += [key, str(args.output / first / "float32" / "model_final.pth")]
    found = train(name, keys, folder, args.steps)
    write_json(file, found)
    return found


def row_of(name: str, args: Namespace) -> list[str]:
    """A line of the table: the loss in float32, and by how much the others are off, in percent."""
    seeds = args.seeds or [None]
    ends = {
        precision: [fmean(losses_of(name, precision, seed, args)[-LAST:]) for seed in seeds]
        for precision in PRECISIONS
    }
    whole = ends.pop("float32")
    off = [
        [100 * (loss / same - 1) for loss, same in zip(losses, whole, strict=True)]
        for losses in ends.values()
    ]
    return [f"`{name}`", f"{fmean(whole):.4g}", *(_shown(one) for one in off)]


def _shown(off: Sequence[float]) -> str:
    deviation = f" ± {stdev(off):.2f}" if len(off) > 1 else ""
    return f"{fmean(off):+.2f}{deviation} %"


def main(argv: list[str] | None = None) -> None:
    """Train what is asked for, and print the table as it grows."""
    args = parse_arguments(argv)
    known = [n for n in list_configs() if "tiny" in n and learns(load_cfg(find_config(n)))]
    for name in args.only:
        check_choice("--only", name, known)
    if args.threads:
        torch.set_num_threads(args.threads)
    rows = []
    for name in args.only or known:
        rows.append(row_of(name, args))
        print("  ".join(rows[-1]), flush=True)
    text = tabulate(rows, headers=("config", *PRECISIONS), tablefmt="github")
    print(text)


def parse_arguments(argv: list[str] | None = None) -> Namespace:
    """Read the command line."""
    parser = options.tool_parser(__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="CONFIG", help="these alone")
    parser.add_argument("--steps", type=options.positive, default=100, metavar="N", help="each")
    parser.add_argument(
        "--batch", type=options.positive, metavar="N", help="pictures of a step; else the config's"
    )
    parser.add_argument("--small", action="store_true", help="pictures of half the sides or less")
    options.add_seeds(parser)
    parser.add_argument("--threads", type=options.positive, metavar="N", help="CPU threads")
    options.add_output(parser, "output/precisions")
    options.add_device(parser, "cpu")
    return options.read_line(parser, argv)


if __name__ == "__main__":
    main()
