"""Label pictures, the pictures of folders, or the frames of videos with your words.

Each picture gives <name>_labels.png (index of the word per pixel), <name>_overlay.png and
<name>_segments.json. A run that was interrupted goes on where it stopped: the same line makes what
is missing or damaged, and anew what was made with another config, other weights or words, or from a
picture that has changed since. What goes wrong with a picture is one line, and the rest goes on.
--format writes the results of all pictures as annotations of the usual kinds, too.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from . import options

if TYPE_CHECKING:
    from ..predict.folder import Tally
    from ..predict.reading import Input
    from ..predict.result import Result

SUMMARY = "label pictures, folders or videos with your words"
EXAMPLES = (
    'ovsuite segment photo.jpg --words "car, tree, sky" --method cliptrase/tiny',
    "ovsuite segment pictures --words words.txt --method cliptrase/tiny --output results",
    'ovsuite segment clip.avi --every 5 --words "car, background: sky" --method cliptrase/tiny '
    "--output frames",
    'ovsuite segment photo.jpg --words "sofa|couch, wall" --method cliptrase/tiny '
    "--output sofas --format coco,panoptic,csv --opts MODEL.CLIPTRASE.IMAGE_SIZE 96",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("inputs", nargs="+", type=Path, help="pictures, folders, videos")
    options.add_words(parser, required=True)
    options.add_model(parser)
    options.add_output(parser, "output/segment")
    parser.add_argument(
        "--every", type=options.positive, default=1, help="each n-th frame of a video"
    )
    parser.add_argument(
        "--format", type=options.comma_list, default=[], metavar="A,B",
        help="write annotations of all pictures, too: coco (RLE), polygons, panoptic, csv",
    )  # fmt: skip
    parser.add_argument(
        "--merge", action="store_true", help="add to annotation files that are there"
    )
    options.add_max_pixels(parser)
    options.add_overwrite(parser)


def run(args: Namespace) -> int:
    """Segment, and say what became of each picture.

    Returns:
        0 if all pictures were segmented, else 1.
    """
    from ..words.vocabulary import Vocabulary

    options.settle_max_pixels(args.max_pixels)
    vocabulary = Vocabulary.parse(args.words)  # mistakes show before anything is loaded
    from ..predict.annotation_files import check_annotations

    if args.merge and not args.format:
        raise UserError("--merge adds to annotation files; name them with --format")
    check_annotations(args.output, args.format, merge=args.merge)
    from ..predict.reading import count_inputs, find_files, read_inputs

    files = find_files(args.inputs)
    total = count_inputs(files, args.every)
    from ..predict.folder import Tally, segment_files
    from ..predict.predictor import Predictor
    from ..predict.run_file import open_output

    predictor = Predictor.from_config(
        args.method, weights=args.weights, device=args.device, options=args.opts
    )
    line = {"method": args.method, "weights": args.weights, "options": args.opts,
            "words": args.words}  # fmt: skip
    tally, started = Tally(), time.perf_counter()
    with open_output(args.output, vocabulary, line, overwrite=args.overwrite) as folder:
        try:
            segment_files(
                predictor, vocabulary, read_inputs(files, args.every), folder, total=total,
                overwrite=args.overwrite, report=_report, tally=tally,
            )  # fmt: skip
        finally:  # also where Ctrl-C ends it
            for failed in tally.failed:
                print(f"error: {failed}", file=sys.stderr)
        if args.format and tally.finished and not tally.stopped:
            _annotate(args, files, folder, tally.finished)
    print(f"{_summary(tally, time.perf_counter() - started)}; results in {folder}")
    if tally.stopped:
        raise UserError(
            f"{tally.stopped}; stopped here, and what is finished is kept: make room, and give the "
            "same line again"
        )
    return 1 if tally.failed else 0


def _annotate(args: Namespace, files: list[Path], folder: Path, stems: list[str]) -> None:
    """Write the annotations of all finished pictures, from their results on disk."""
    from ..predict.annotation_files import save_annotations
    from ..predict.annotations import read_labelled
    from ..predict.parts import SavedResult

    labelled = (read_labelled(SavedResult(folder, stem)) for stem in sorted(stems))
    root = os.path.commonpath([file.resolve().parent for file in files])
    written = save_annotations(
        labelled, folder, args.format, merge=args.merge, about={"method": args.method}, root=root
    )
    for path in written:
        print(f"annotations  {path}")


def _summary(tally: Tally, seconds: float) -> str:
    parts = [f"{tally.done} segmented in {seconds:.1f} s"]
    parts += [f"{count} of them anew for {reason}" for reason, count in tally.anew.items()]
    if tally.skipped:
        parts.append(f"{tally.skipped} finished earlier and skipped")
    if tally.failed:
        parts.append(f"{len(tally.failed)} failed")
    return ", ".join(parts)


def _report(one: Input, result: Result) -> None:
    from tqdm import tqdm

    from ..draw import percent

    largest = ", ".join(f"{s.name} {percent(s.share)}" for s in result.segments[:4])
    more = len(result.segments) - 4
    tqdm.write(f"{one.source}: {largest}{f' and {more} more' if more > 0 else ''}")
