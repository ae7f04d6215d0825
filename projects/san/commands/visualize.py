"""`ovsuite visualize`: the label map, and the masks with their words."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode

from ovs_core.data.build import build_mapper
from ovs_core.draw import render
from ovs_core.files.pictures import read_picture
from ovs_core.files.writing import save_picture
from ovs_core.reports.mask_sheet import proposal_sheet
from ovs_core.reports.subjects import build_as, give_words, records_to_show

from ..model import SAN

EXAMPLES = (
    "ovsuite visualize san/tiny --weights output/san_tiny/model_final.pth --samples 1",
    'ovsuite visualize san/tiny --pictures photo.jpg --words "car, sky, sand"',
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing to the options that all methods share."""


def run(cfg: CfgNode, args: Namespace) -> Iterator[Path]:
    """Draw, and give the files."""
    records = records_to_show(cfg, args.pictures, args.samples)
    model = build_as(cfg, SAN)
    give_words(cfg, model, args.words)
    mapper, names = build_mapper(cfg, is_train=False), model.vocabulary.names
    for record in records:
        path = Path(record["file_name"])
        image: np.ndarray = read_picture(path)
        with torch.no_grad():
            encoded = model.encode_picture(mapper({"file_name": str(path)})["image"])
            scores = model.score_picture(encoded, image.shape[:2])
            sheets = {
                "labels": render(image, scores.labels().cpu().numpy(), names),
                "masks": proposal_sheet(image, scores, names),
            }
        for kind, sheet in sheets.items():
            yield save_picture(sheet, args.output / f"{path.stem}_{kind}.png")
