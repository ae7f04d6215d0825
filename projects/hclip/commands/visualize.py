"""`ovsuite visualize`: what a detector finds; else the relations that H-CLIP has learned."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from detectron2.config import CfgNode

from ovs_core.data.build import build_mapper
from ovs_core.files.writing import save_picture
from ovs_core.reports.subjects import build_as, give_words, records_to_show

from ..analysis import adaptation_of, draw_relations
from ..detection import HCLIPDetector
from ..detection.figures import detection_sheet
from ..model import CATSeg

EXAMPLES = (
    "ovsuite visualize output/hclip_tiny",
    'ovsuite visualize hclip/detection/tiny --pictures photo.jpg --words "car, sky" --threshold 0',
    "ovsuite visualize hclip/detection/tiny --samples 2",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the sheet of a detector depends on."""
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score shown")


def run(cfg: CfgNode, args: Namespace) -> Iterator[Path]:
    """Draw, and give the files."""
    if cfg.MODEL.META_ARCHITECTURE == HCLIPDetector.__name__:
        yield write_detections(cfg, args)
    else:
        pop = adaptation_of(build_as(cfg, CATSeg)).pop
        yield from draw_relations(pop, args.output)


def write_detections(cfg: CfgNode, args: Namespace) -> Path:
    """Write ``detections.png``.

    Args:
        cfg: of a detector.
        args: ``pictures``, ``samples``, ``words``, ``threshold`` and ``output``, the folder.
    """
    records = records_to_show(cfg, args.pictures, args.samples)
    if args.words:  # the truth is numbered by the dataset's words, not by these
        records = [{k: v for k, v in r.items() if k != "annotations"} for r in records]
    model = build_as(cfg, HCLIPDetector)
    give_words(cfg, model, args.words)
    mapper = build_mapper(cfg, is_train=False)
    sheet = detection_sheet(model, mapper, records, threshold=args.threshold)
    return save_picture(sheet, args.output / "detections.png")
