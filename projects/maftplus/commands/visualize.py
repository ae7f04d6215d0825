"""`ovsuite visualize`: panoptic overlay, proposals with words, effect of the transfer."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from detectron2.config import CfgNode

from ovs_core.data.build import build_mapper
from ovs_core.files.pictures import read_picture
from ovs_core.files.writing import save_picture
from ovs_core.reports.subjects import build_as, give_words, records_to_show

from ..figures import picture_sheets
from ..mask_segmenter import MaskSegmenter

EXAMPLES = (
    "ovsuite visualize maftplus/tiny --weights output/maftplus_tiny/model_final.pth --samples 1",
    'ovsuite visualize maftplus/tiny_fcclip --pictures photo.jpg --words "car, sky, sand"',
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing to the options that all methods share."""


def run(cfg: CfgNode, args: Namespace) -> Iterator[Path]:
    """Draw, and give the files."""
    records = records_to_show(cfg, args.pictures, args.samples)
    # A base with abstract methods: what is built is one of its subclasses.
    model = build_as(cfg, MaskSegmenter)  # type: ignore[type-abstract]
    give_words(cfg, model, args.words)
    mapper = build_mapper(cfg, is_train=False)
    for record in records:
        path = Path(record["file_name"])
        shown = mapper({"file_name": str(path)})["image"]
        for kind, sheet in picture_sheets(model, shown, read_picture(path)).items():
            yield save_picture(sheet, args.output / f"{path.stem}_{kind}.png")
