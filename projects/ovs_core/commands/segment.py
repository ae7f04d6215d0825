"""Label pictures, the pictures of folders, or the frames of videos with your words.

Each picture gives <name>_labels.png (index of the word per pixel), <name>_overlay.png and
<name>_segments.json. A run that was interrupted goes on where it stopped: finished pictures are
skipped as long as words and method are the same.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from . import options

if TYPE_CHECKING:
    from ..predict.reading import Input
    from ..predict.result import Result

SUMMARY = "label pictures, folders or videos with your words"
EXAMPLES = (
    'ovsuite segment photo.jpg --words "car, tree, sky" --method cliptrase/tiny',
    "ovsuite segment pictures --words words.txt --method cliptrase/tiny --output results",
    'ovsuite segment clip.avi --every 5 --words "car, background: sky" --method cliptrase/tiny '
    "--output frames",
    'ovsuite segment photo.jpg --words "sofa|couch, wall" --method cliptrase/tiny '
    "--output sofas --opts MODEL.CLIPTRASE.IMAGE_SIZE 96",
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
    options.add_max_pixels(parser)
    options.add_overwrite(parser)


def run(args: Namespace) -> int:
    """Segment, and say what became of each picture.

    Returns:
        0 if all pictures were segmented, else 1.
    """
    from ..files.raster import limit_pixels
    from ..words.vocabulary import Vocabulary

    if args.max_pixels is not None:
        limit_pixels(args.max_pixels)
    vocabulary = Vocabulary.parse(args.words)  # mistakes in words show before anything is loaded
    from ..predict.reading import count_inputs, find_files, read_inputs

    files = find_files(args.inputs)
    total = count_inputs(files, args.every)
    from ..predict.folder import open_output, segment_files
    from ..predict.predictor import Predictor

    predictor = Predictor.from_config(
        args.method, weights=args.weights, device=args.device, options=args.opts
    )
    method = {"made_by": "ovsuite", "method": args.method, "weights": args.weights,
              "options": args.opts}  # fmt: skip
    folder = open_output(args.output, vocabulary, method, overwrite=args.overwrite)
    started = time.perf_counter()
    tally = segment_files(
        predictor, vocabulary, read_inputs(files, args.every), folder,
        total=total, overwrite=args.overwrite, report=_report,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    for line in tally.failed:
        print(f"error: {line}", file=sys.stderr)
    skipped = f", {tally.skipped} finished earlier and skipped" if tally.skipped else ""
    failed = f", {len(tally.failed)} failed" if tally.failed else ""
    print(f"{tally.done} segmented in {seconds:.1f} s{skipped}{failed}; results in {folder}")
    return 1 if tally.failed else 0


def _report(one: Input, result: Result) -> None:
    from tqdm import tqdm

    from ..draw import percent

    largest = ", ".join(f"{s.name} {percent(s.share)}" for s in result.segments[:4])
    more = len(result.segments) - 4
    tqdm.write(f"{one.source}: {largest}{f' and {more} more' if more > 0 else ''}")
