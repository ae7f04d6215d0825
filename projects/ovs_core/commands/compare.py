"""Put methods side by side: on your pictures, or on a labelled dataset.

With pictures and --words a sheet is drawn (sheet.png), one row per picture and one column per
method. Without pictures the methods are evaluated on --dataset, or the test set of their configs:
a table (table.md, table.json) and a sheet with the truth.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..errors import UserError
from . import options, picture_options

SUMMARY = "several methods on the same pictures, or a table on labelled data"
EXAMPLES = (
    'ovsuite compare pictures --words "car, tree" --methods cliptrase/tiny cliptrase/tiny_clip',
    "ovsuite compare --methods cliptrase/tiny cliptrase/tiny_clip --output output/table",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    picture_options.add_inputs(parser, required=False)
    options.add_methods(parser, required=True)
    options.add_words(parser)
    options.add_dataset(parser)
    options.add_samples(parser, 6)
    options.add_output(parser, "output/compare")
    options.add_weights(parser, several=True)
    options.add_device(parser)
    picture_options.add_rules(parser)
    picture_options.add_max_pixels(parser)
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Compare."""
    repeated = {name for name in args.methods if args.methods.count(name) > 1}
    if repeated:
        raise UserError(f"--methods names {min(repeated)} more than once")
    if not args.inputs:
        return _on_dataset(args)
    if args.samples < 1:
        raise UserError("--samples 0: nothing would be drawn; give 1 at least")
    if args.words is None:
        raise UserError("pictures need --words; without pictures a labelled dataset is used")
    from ..predict.side_by_side import compare_pictures
    from ..words.vocabulary import Vocabulary

    picture_options.settle_max_pixels(args.max_pixels)
    vocabulary = Vocabulary.parse(args.words)
    files = picture_options.find_inputs(args)
    pictures = [file for file in files if isinstance(file, Path)]
    if len(pictures) < len(files):
        raise UserError("compare takes files of this machine, no addresses; fetch them first")
    sheet, failures = compare_pictures(
        args.methods, pictures, vocabulary, args.output, weights=_weights(args),
        device=args.device, options=args.opts, most=args.samples,
        rules=picture_options.rules_of(args),
    )  # fmt: skip
    if len(pictures) > args.samples:
        print(f"{args.samples} of {len(pictures)} pictures are drawn; "
              f"--samples {len(pictures)} draws all")  # fmt: skip
    for failed in failures:
        print(f"error: {failed}", file=sys.stderr)
    print(f"pictures  {sheet}")
    return int(bool(failures))


def _on_dataset(args: Namespace) -> int:
    from ..methods.configs import find_model
    from ..reports.comparison import run_table, show_result
    from ..reports.tables import Row, Table

    rows = []
    for name, given in zip(args.methods, _weights(args), strict=True):
        config, found = find_model(name)
        weights = given or found
        pairs = ["MODEL.DEVICE", args.device]
        pairs += ["MODEL.WEIGHTS", weights] if weights else []
        pairs += ["DATASETS.TEST", f"('{args.dataset}',)"] if args.dataset else []
        rows.append(Row(name, str(config), (*pairs, *args.opts)))
    table = Table("methods side by side", tuple(rows))
    result = run_table(table, args.output, samples=args.samples)
    show_result(table, result)
    return int(result.missing > 0)


def _weights(args: Namespace) -> list[str]:
    """Give one checkpoint, or "", for each method."""
    if args.weights and len(args.weights) != len(args.methods):
        raise UserError(
            f"{len(args.weights)} --weights for {len(args.methods)} --methods; give one for each, "
            "in the same order, or none"
        )
    return args.weights or [""] * len(args.methods)
