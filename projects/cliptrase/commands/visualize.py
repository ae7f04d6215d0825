"""`ovsuite visualize`: attention, global patches, clusters and labels of each picture.

Of CLIP-Surgery, the map and the points of each word.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from pathlib import Path

import torch
from detectron2.config import CfgNode

from ovs_core.files.pictures import read_picture
from ovs_core.reports.subjects import build_as, give_words, records_to_show

from ..figures import write_similarity, write_views
from ..model import CLIPtrase
from ..surgery import SurgeryScorer

EXAMPLES = (
    'ovsuite visualize cliptrase/tiny --pictures photo.jpg --words "car, sky, sand"',
    "ovsuite visualize cliptrase/tiny --samples 1 --patch 2,3 --raw --output views",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the views depend on."""
    parser.add_argument(
        "--patch", type=_patch, metavar="ROW,COLUMN", help="patch to look at; else the middle one"
    )
    parser.add_argument("--raw", action="store_true", help="products before the softmax")


def run(cfg: CfgNode, args: Namespace) -> Iterator[str | Path]:
    """Draw a folder of views of each picture, and say what was found."""
    records = records_to_show(cfg, args.pictures, args.samples)
    model = build_as(cfg, CLIPtrase)
    give_words(cfg, model, args.words)
    for record in records:
        path = Path(record["file_name"])
        picture = torch.from_numpy(read_picture(path).transpose(2, 0, 1).copy())
        folder = args.output / path.stem
        if isinstance(model.scorer, SurgeryScorer):
            write_similarity(model, picture, folder)
            yield folder
            continue
        report = write_views(model, picture, folder, patch=args.patch, raw=args.raw)
        yield f"{folder}: {report['clusters']} clusters, {report['noise_patches']} noise patches"


def _patch(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ArgumentTypeError(f"'{text}' is not ROW,COLUMN, for example 5,7")
    return int(parts[0]), int(parts[1])
