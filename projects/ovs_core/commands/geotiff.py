"""Label a GeoTIFF of any size, and write its label map as one; needs the extra `geo`.

Windows of it are labelled one after the other, and the scores of a pixel averaged over all that
show it, so that memory stays the same however large the raster is. Windows are fixed to the ground:
cuts of a raster get the labels of the whole one, but for the width of a window along their edges.
Coordinate system, transform and what has no data are those of the raster. A smaller --step draws
smoother outlines, and takes longer.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from . import options, picture_options
from .quick_start import paused_collection

SUMMARY = "a label map of a GeoTIFF of any size"
EXAMPLES = (
    'ovsuite geotiff scene.tif --words "roof|house, tree, water" --method cliptrase/vitb16 '
    "--output labels.tif",
    'ovsuite geotiff sentinel.tif --words "forest, field, water" --bands 4 3 2 --range 0 3000 '
    "--output labels.tif",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("source", help="the raster, a file")
    options.add_words(parser, required=True)
    options.add_model(parser, required=False)
    options.add_output(parser, "output/labels.tif")
    parser.add_argument(
        "--bands", nargs=3, type=options.positive, default=(1, 2, 3), metavar="N",
        help="those of red, green and blue, from 1 on",
    )  # fmt: skip
    parser.add_argument(
        "--range", nargs=2, type=float, metavar=("LOW", "HIGH"),
        help="values that are shown black and white; needed unless bands have 8 bits",
    )  # fmt: skip
    parser.add_argument(
        "--window", type=options.positive, default=512, metavar="PIXELS", help="side of a window"
    )
    parser.add_argument(
        "--step", type=options.positive, default=128, metavar="PIXELS",
        help="from one window to the next",
    )  # fmt: skip
    options.add_overwrite(parser)


def run(args: Namespace) -> int:
    """Label the raster, and say what a reader of the labels should know."""
    from ..words.vocabulary import Vocabulary

    words = Vocabulary.parse(args.words)  # mistakes show before anything is loaded
    picture_options.settle_method(args)
    with paused_collection():
        from ..predict.geotiff import Colours, segment_geotiff
        from ..predict.predictor import Predictor

        predictor = Predictor.from_config(
            args.method, weights=args.weights, device=args.device, options=args.opts
        )
    red, green, blue = args.bands
    values = None if args.range is None else (args.range[0], args.range[1])
    notes = segment_geotiff(
        predictor, args.source, words, args.output, colours=Colours((red, green, blue), values),
        side=args.window, step=args.step, overwrite=args.overwrite,
    )  # fmt: skip
    for note in notes:
        print(note, file=sys.stderr)
    print(args.output)
    return 0
