"""`ovsuite visualize`: seen/unseen overlays, the masks of single classes, the spectral filters.

The overlays compare with the truth of a test set and its split, so they are left out for own
pictures or words.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from detectron2.config import CfgNode

from ovs_core.data.build import build_mapper
from ovs_core.data.labels import load_labels
from ovs_core.files.pictures import read_picture
from ovs_core.files.writing import save_picture
from ovs_core.reports.subjects import build_as, first_test_set, give_words, records_to_show
from ovs_core.words.label_space import label_space

from ..figures import filter_sheet, filters_of, mask_sheet, seen_unseen_sheet
from ..model import SPTSeg

EXAMPLES = (
    "ovsuite visualize sptseg/tiny --weights output/sptseg_tiny/model_final.pth --samples 2",
    'ovsuite visualize sptseg/tiny_zegclip --pictures photo.jpg --words "car, sky, sand"',
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing to the options that all methods share."""


def run(cfg: CfgNode, args: Namespace) -> Iterator[Path]:
    """Draw, and give the files."""
    records = records_to_show(cfg, args.pictures, args.samples)
    model = build_as(cfg, SPTSeg)
    give_words(cfg, model, args.words)
    model.output = "labels"
    mapper = build_mapper(cfg, is_train=False)
    inputs = [mapper(dict(record)) for record in records]
    originals = [read_picture(record["file_name"]) for record in records]
    masks = len(records)
    if not (args.pictures or args.words):
        space = label_space(first_test_set(cfg))
        truths = [load_labels(record, space) for record in records]
        sheet = seen_unseen_sheet(model, inputs, originals, truths)
        yield save_picture(sheet, args.output / "seen_unseen.png")
        masks = (masks + 1) // 2  # of a test set, half as many
    for index in range(masks):
        sheet = mask_sheet(model, inputs[index], originals[index])
        yield save_picture(sheet, args.output / f"masks_{index}.png")
    if cfg.MODEL.SPTSEG.SPECTRAL.LAYERS:
        for index, weight in enumerate(filters_of(model)):
            yield save_picture(filter_sheet(weight), args.output / f"filter_{index}.png")
