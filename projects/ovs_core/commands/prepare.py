"""Prepare a benchmark: turn its original files into those that training and evaluation read.

A run that was stopped goes on, and a file that it did not make is never overwritten. Nothing is
downloaded; datasets/README.md says where each benchmark comes from.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from . import options

SUMMARY = "turn a benchmark's original files into those that are read"
EXAMPLES = (
    "ovsuite prepare coco_stuff --splits val",
    "ovsuite prepare ade20k_150 --panoptic --instance",
    "ovsuite prepare voc2012 --splits trainaug --sbd benchmark_RELEASE/dataset --any-count",
)


class Preparation(NamedTuple):
    """How one benchmark is prepared.

    Attributes:
        about: one line.
        run: ``(root, split, args)`` -> what it has to say.
        splits: those that there are.
        flags: its own options, of ``FLAGS``.
    """

    about: str
    run: Callable[[Path, str, Namespace], Iterator[object]]
    splits: tuple[str, ...] = ("train", "val")
    flags: tuple[str, ...] = ()


FLAGS: dict[str, dict[str, Any]] = {
    "--panoptic": {
        "action": "store_true",
        "help": "panoptic annotation as well; needs annotations_instance",
    },
    "--instance": {
        "action": "store_true",
        "help": "instance annotation as well; needs annotations_instance",
    },
    "--exact-areas": {
        "action": "store_true",
        "help": "measure stuff where it is visible; published figures count what things hide, too",
    },
    "--raw": {"type": Path, "metavar": "FOLDER", "help": "folder of the original label files"},
    "--list": {
        "type": Path,
        "metavar": "FILE",
        "help": "file that names the pictures of the split",
    },
    "--background": {"action": "store_true", "help": "labels of VOC-20b, with background"},
    "--sbd": {"type": Path, "metavar": "FOLDER", "help": "folder 'dataset' of SBD, for trainaug"},
    "--any-count": {
        "action": "store_true",
        "help": "do not insist on 10,582 pictures in trainaug",
    },
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command: a parser for each benchmark."""
    subparsers = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, preparation in PREPARATIONS.items():
        sub = subparsers.add_parser(
            name,
            help=preparation.about,
            description=f"Prepare {preparation.about}.",
            formatter_class=options.HelpFormatter,
        )
        sub.add_argument(
            "--root",
            type=Path,
            help="folder of the datasets; else DETECTRON2_DATASETS or ./datasets",
        )
        sub.add_argument(
            "--splits", nargs="+", choices=preparation.splits, default=list(preparation.splits),
            help="parts of the benchmark",
        )  # fmt: skip
        options.add_workers(sub)
        for flag in preparation.flags:
            sub.add_argument(flag, **FLAGS[flag])


def run(args: Namespace) -> int:
    """Prepare the chosen splits, and sum up each."""
    import logging

    from ..data.benchmarks import datasets_root

    # Which pictures are left out, and which layout was found, belong on the screen.
    logging.getLogger("ovs_core.data").setLevel(logging.INFO)
    root = args.root or datasets_root()
    for split in args.splits:
        for summary in PREPARATIONS[args.benchmark].run(root, split, args):
            print(summary)
    return 0


def _ade20k_150(root: Path, split: str, args: Namespace) -> Iterator[object]:
    from ..data.preparation import ade20k

    yield ade20k.prepare_semantic(root, split, args.workers)
    if args.panoptic:
        yield ade20k.prepare_panoptic(root, split, exact=args.exact_areas, workers=args.workers)
    if args.instance:
        yield f"{split} instances: {ade20k.prepare_instances(root, split)}"


def _ade20k_full(root: Path, split: str, args: Namespace) -> Iterator[object]:
    from ..data.preparation import ade20k_full

    yield from ade20k_full.prepare(root, split, args.workers)


def _cityscapes(root: Path, split: str, args: Namespace) -> Iterator[object]:
    from ..data.preparation import cityscapes

    yield cityscapes.prepare_train_ids(root, split, args.workers)
    yield cityscapes.prepare_panoptic(root, split, args.workers)


def _coco_panoptic(root: Path, split: str, args: Namespace) -> Iterator[object]:
    from ..data.preparation import coco

    yield coco.prepare_panoptic_semantics(root, split, args.workers)


def _coco_stuff(root: Path, split: str, args: Namespace) -> Iterator[object]:
    from ..data.preparation import coco

    yield coco.prepare_stuff(root, split, raw=args.raw, workers=args.workers)


def _context(root: Path, split: str, args: Namespace) -> Iterator[object]:
    from ..data.preparation import pascal_context

    yield pascal_context.prepare_59(root, split, listing=args.list, workers=args.workers)


def _context_459(root: Path, split: str, args: Namespace) -> Iterator[object]:
    from ..data.preparation import pascal_context

    yield pascal_context.prepare_459(
        root, split, raw=args.raw, listing=args.list, workers=args.workers
    )


def _mapillary(root: Path, split: str, args: Namespace) -> Iterator[object]:
    from ..data.preparation import mapillary

    yield mapillary.verify(root, split, args.workers)


def _voc2012(root: Path, split: str, args: Namespace) -> Iterator[object]:
    from ..data.preparation import pascal_voc

    yield pascal_voc.prepare(
        root,
        split,
        background=args.background,
        sbd=args.sbd,
        any_count=args.any_count,
        workers=args.workers,
    )


PREPARATIONS = {
    "ade20k_150": Preparation(
        "ADE20K-150: labels of 150 classes, on demand panoptic and instance annotations",
        _ade20k_150,
        flags=("--panoptic", "--instance", "--exact-areas"),
    ),
    "ade20k_full": Preparation(
        "ADE20K-847: 16-bit labels of 847 classes, pictures at reduced size", _ade20k_full
    ),
    "cityscapes": Preparation("Cityscapes: train-id maps, panoptic annotation", _cityscapes),
    "coco_panoptic": Preparation(
        "COCO panoptic: labels of 133 classes, which add mIoU to panoptic reports", _coco_panoptic
    ),
    "coco_stuff": Preparation(
        "COCO-Stuff: labels of 171 classes; COCO-Object and COCO-27 read them, too",
        _coco_stuff,
        flags=("--raw",),
    ),
    "context": Preparation(
        "PASCAL Context: labels of 59 classes; Context-60 reads them, too",
        _context,
        flags=("--list",),
    ),
    "context_459": Preparation(
        "PASCAL Context: 16-bit labels of 459 classes", _context_459, flags=("--raw", "--list")
    ),
    "mapillary": Preparation("Mapillary Vistas v1.2: used as it is, so only checked", _mapillary),
    "voc2012": Preparation(
        "PASCAL VOC 2012: labels of 20 classes; VOC-21 reads the original files",
        _voc2012,
        splits=("train", "trainaug", "val"),
        flags=("--background", "--sbd", "--any-count"),
    ),
}
