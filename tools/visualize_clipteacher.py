#!/usr/bin/env python
"""Pictures of a CLIPTeacher in training: attention, K-means regions, fused masks, pseudo-labels.

Examples:
  python tools/visualize_clipteacher.py clipteacher/tiny
  python tools/visualize_clipteacher.py clipteacher/segformer_b4_voc --weights voc.pth --samples 8
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode

from clipteacher.figures import training_sheet
from ovs_core.data.build import build_mapper, dataset_dicts
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.engine.train_loader import seed_everything
from ovs_core.engine.trainer import set_training_words
from ovs_core.errors import UserError
from ovs_core.files.writing import save_picture
from ovs_core.methods.configs import find_config
from ovs_core.words.label_space import IGNORE

TRIES = 25  # samples looked at for each row


def main() -> None:
    """Draw what the command line asks for and say where it is."""
    args = _parse()
    options = ["MODEL.WEIGHTS", args.weights] if args.weights else []
    cfg = load_cfg(find_config(args.config), [*options, *args.options])
    print(draw(cfg, args.output, args.samples))


def draw(cfg: CfgNode, output: Path, samples: int) -> Path:
    """Write the sheet of a few training samples.

    Args:
        cfg: finished config.
        output: file to write.
        samples: rows.

    Returns:
        The file.

    Raises:
        UserError: if the config builds another method or names no training set, or no sample has
            unlabelled area.
    """
    if cfg.MODEL.META_ARCHITECTURE != "CLIPTeacher" or not cfg.DATASETS.TRAIN:
        raise UserError("give a config of the project clipteacher that names a DATASETS.TRAIN")
    seed_everything(max(cfg.SEED, 0), 0)
    model = build_segmenter(cfg)
    set_training_words(cfg, model)
    return save_picture(training_sheet(model, choose(cfg, samples)), output)


def choose(cfg: CfgNode, count: int) -> list[dict]:
    """Training samples from all over the set that have labelled and unlabelled area.

    Raises:
        UserError: if no sample that was looked at has both.
    """
    dicts, mapper = dataset_dicts(cfg.DATASETS.TRAIN), build_mapper(cfg, is_train=True)
    tried = np.linspace(0, len(dicts) - 1, min(len(dicts), TRIES * count)).astype(int)
    samples = (mapper(dict(dicts[index])) for index in tried)
    telling = (one for one in samples if 0.2 < (one["sem_seg"] == IGNORE).float().mean() < 0.8)
    chosen = list(islice(telling, count))
    if not chosen:
        raise UserError(
            f"none of {len(tried)} samples of {cfg.DATASETS.TRAIN[0]} has labelled and unlabelled "
            "area; there is nothing to show"
        )
    return chosen


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="clipteacher/<config>, or a YAML file")
    parser.add_argument("--weights", default="", help="checkpoint (default: MODEL.WEIGHTS)")
    parser.add_argument("--output", type=Path, default=Path("output/clipteacher_training.png"))
    parser.add_argument("--samples", type=int, default=4, help="rows (4)")
    parser.add_argument("options", nargs="*", help="KEY VALUE config overrides")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
