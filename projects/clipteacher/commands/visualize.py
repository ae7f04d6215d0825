"""`ovsuite visualize`: attention, K-means regions, fused masks and pseudo-labels of training."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ovs_core.data.build import build_mapper, dataset_dicts, evenly
from ovs_core.engine.train_loader import seed_everything
from ovs_core.engine.trainer import set_training_words
from ovs_core.errors import UserError
from ovs_core.files.writing import save_picture
from ovs_core.reports.subjects import build_as
from ovs_core.words.label_space import IGNORE

from ..figures import training_sheet
from ..model import CLIPTeacher

EXAMPLES = (
    "ovsuite visualize clipteacher/tiny --samples 2",
    "ovsuite visualize output/clipteacher_tiny --samples 1 --output training",
)
TRIES = 25  # samples looked at for each row


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing to the options that all methods share."""


def run(cfg: CfgNode, args: Namespace) -> Iterator[Path]:
    """Draw samples of the training set, one per row, and give the file."""
    if args.pictures or args.words:
        raise UserError(
            "the teacher shows what it makes of training samples; leave --pictures and --words out"
        )
    seed_everything(max(cfg.SEED, 0), 0)
    model = build_as(cfg, CLIPTeacher)
    set_training_words(cfg, model)
    sheet = training_sheet(model, telling_samples(cfg, args.samples))
    yield save_picture(sheet, args.output / "training.png")


def telling_samples(cfg: CfgNode, count: int) -> list[dict[str, Any]]:
    """Take training samples from all over the set that have labelled and unlabelled area.

    Args:
        cfg: finished config.
        count: how many at most.

    Raises:
        UserError: if no sample that was looked at has both.
    """
    tried = evenly(dataset_dicts(cfg.DATASETS.TRAIN), TRIES * count)
    mapper = build_mapper(cfg, is_train=True)
    samples = (mapper(dict(record)) for record in tried)
    telling = (one for one in samples if 0.2 < (one["sem_seg"] == IGNORE).float().mean() < 0.8)
    chosen = list(islice(telling, count))
    if not chosen:
        raise UserError(
            f"none of {len(tried)} samples of {cfg.DATASETS.TRAIN[0]} has labelled and unlabelled "
            "area; there is nothing to show"
        )
    return chosen
