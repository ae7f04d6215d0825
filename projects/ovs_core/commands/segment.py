"""Label pictures, the pictures of folders, or the frames of videos with your words.

Each picture gives <name>_labels.png (index of the word per pixel), <name>_overlay.png and
<name>_segments.json. A run that was interrupted goes on where it stopped: finished pictures are
skipped as long as words and method are the same.
"""

from __future__ import annotations

import sys
import time
from argparse import REMAINDER, ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

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
    parser.add_argument(
        "--words", required=True,
        help='names, as "sofa|couch, black cat, background: wall" or a file with one per line',
    )  # fmt: skip
    parser.add_argument(
        "--method", required=True,
        help="config such as cliptrase/vitb16 (`ovsuite methods` lists all), YAML file, or the "
        "output folder of a training",
    )  # fmt: skip
    parser.add_argument("--weights", default="", help="checkpoint of the method")
    parser.add_argument("--output", type=Path, default=Path("output/segment"), help="%(default)s")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (%(default)s)")
    parser.add_argument("--every", type=_positive, default=1, help="each n-th frame of a video (1)")
    parser.add_argument(
        "--overwrite", action="store_true", help="make everything anew, replace what is there"
    )
    parser.add_argument(
        "--opts", nargs=REMAINDER, default=[], help="KEY VALUE config overrides; comes last"
    )


def run(args: Namespace) -> int:
    """Segment, and say what became of each picture.

    Returns:
        0 if all pictures were segmented, else 1.
    """
    from ..words.vocabulary import Vocabulary

    vocabulary = Vocabulary.parse(args.words)  # mistakes in words show before anything is loaded
    from ..predict.folder import count_tasks, find_inputs, open_output, segment_files, tasks

    files = find_inputs(args.inputs)
    total = count_tasks(files, args.every)
    from ..predict.predictor import Predictor

    predictor = Predictor.from_config(
        args.method, weights=args.weights, device=args.device, options=args.opts
    )
    method = {"made_by": "ovsuite", "method": args.method, "weights": args.weights,
              "options": args.opts}  # fmt: skip
    folder = open_output(args.output, vocabulary, method, overwrite=args.overwrite)
    started = time.perf_counter()
    summary = segment_files(
        predictor, vocabulary, tasks(files, args.every), folder,
        total=total, overwrite=args.overwrite, report=_report,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    for line in summary.failed:
        print(f"error: {line}", file=sys.stderr)
    skipped = f", {summary.skipped} finished earlier and skipped" if summary.skipped else ""
    failed = f", {len(summary.failed)} failed" if summary.failed else ""
    print(f"{summary.done} segmented in {seconds:.1f} s{skipped}{failed}; results in {folder}")
    return 1 if summary.failed else 0


def _report(task, result) -> None:
    from tqdm import tqdm

    from ..draw.renderer import percent

    largest = ", ".join(f"{s.name} {percent(s.share)}" for s in result.segments[:4])
    more = len(result.segments) - 4
    tqdm.write(f"{task.source}: {largest}{f' and {more} more' if more > 0 else ''}")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is no whole number above 0")
    return int(text)
