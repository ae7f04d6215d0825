"""Write a video with its labels drawn in, from a video file or a camera.

Frames are labelled one after the other in steady memory, so that a video may be of any length. With
--steady the scores of a frame are averaged with those of the frames before, so that labels flicker
less. Ctrl-C ends a recording, and what was made is kept. For the files of each single frame,
`ovsuite segment` takes videos, too.
"""

from __future__ import annotations

import itertools
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from . import options, picture_options
from .quick_start import paused_collection

if TYPE_CHECKING:
    import numpy as np

    from ..predict.result import Result

SUMMARY = "a video, or what a camera sees, with its labels drawn in"
EXAMPLES = (
    'ovsuite video clip.avi --words "car, sky, sand" --method cliptrase/tiny_maskclip --every 6 '
    "--steady 0.6 --output labelled.avi",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("source", help="video file, or the number of a camera, such as 0")
    options.add_words(parser, required=True)
    options.add_model(parser, required=False)
    options.add_output(parser, "output/labelled.mp4")
    picture_options.add_every(parser)
    parser.add_argument(
        "--frames", type=options.positive, metavar="N", help="end after so many labelled frames"
    )
    parser.add_argument(
        "--steady", type=float, default=0.0, metavar="SHARE",
        help="share of the frames before in the scores of each, such as 0.6",
    )  # fmt: skip
    parser.add_argument(
        "--label-maps", type=Path, metavar="FOLDER",
        help="write the label map of each frame, too, as PNG",
    )  # fmt: skip
    picture_options.add_rules(parser)
    options.add_overwrite(parser)


def run(args: Namespace) -> int:
    """Label the frames, and write the video as they come."""
    from ..words.vocabulary import Vocabulary

    words = Vocabulary.parse(args.words)  # mistakes show before anything is loaded
    if args.output.exists() and not args.overwrite:
        raise UserError(f"{args.output}: exists; choose another --output, or give --overwrite")
    picture_options.settle_method(args)
    with paused_collection():
        from ..predict.moving import segment_frames, write_video
        from ..predict.predictor import Predictor
        from ..predict.video import frame_rate, read_frames

        predictor = Predictor.from_config(
            args.method, weights=args.weights, device=args.device, options=args.opts,
            **picture_options.rules_of(args),
        )  # fmt: skip
    source = _source(args.source)
    rate = frame_rate(source, args.every)
    frames = (image for _, image in read_frames(source, args.every))
    results = segment_frames(
        predictor, itertools.islice(frames, args.frames), words, steady=args.steady
    )
    count = write_video(args.output, _drawn(args, results), rate)
    print(f"{args.output}: {count} frames, {rate:.4g} per second")
    return 0


def _source(text: str) -> str | int:
    return int(text) if text.isdecimal() and not Path(text).exists() else text


def _drawn(args: Namespace, results: Iterator[Result]) -> Iterator[np.ndarray]:
    """Give the overlays, write label maps, and say how far it is."""
    from tqdm import tqdm

    from ..files.writing import save_picture
    from ..predict.segment import small_labels

    for number, result in enumerate(tqdm(results, unit="frame", disable=None)):
        if number == 0 and result.out_of_world:
            tqdm.write(result.out_of_world)
        if args.label_maps is not None:
            name = f"{number * args.every:06d}_labels.png"
            save_picture(small_labels(result.labels, len(result.names)), args.label_maps / name)
        yield result.overlay(legend=False)
