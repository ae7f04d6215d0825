"""Put methods side by side: on your pictures, or on a labelled data set.

With pictures and --words a sheet is drawn (sheet.png), one row per picture and one column per
method. Without pictures the methods are evaluated on --dataset, or the test set of their configs:
a table (table.md, table.json) and a sheet with the truth.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..errors import UserError

SUMMARY = "several methods on the same pictures, or a table on labelled data"
EXAMPLES = (
    'ovsuite compare pictures --words "car, tree" --methods cliptrase/tiny cliptrase/tiny_clip',
    "ovsuite compare --methods cliptrase/tiny cliptrase/tiny_clip --output output/table",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("inputs", nargs="*", type=Path, help="pictures or folders")
    parser.add_argument(
        "--methods", nargs="+", required=True, metavar="METHOD",
        help="configs, YAML files, or output folders of trainings",
    )  # fmt: skip
    parser.add_argument("--words", help="as of `ovsuite segment`; needed for pictures")
    parser.add_argument("--dataset", help="registered name (default: the configs' own test set)")
    parser.add_argument("--samples", type=int, default=6, help="pictures on the sheet (6)")
    parser.add_argument("--output", type=Path, default=Path("output/compare"), help="%(default)s")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (%(default)s)")


def run(args: Namespace) -> int:
    """Compare."""
    repeated = {name for name in args.methods if args.methods.count(name) > 1}
    if repeated:
        raise UserError(f"--methods names {min(repeated)} more than once")
    if not args.inputs:
        return _on_dataset(args)
    if args.words is None:
        raise UserError("pictures need --words; without pictures a labelled data set is used")
    from ..predict.folder import find_inputs
    from ..predict.side_by_side import compare_pictures
    from ..words.vocabulary import Vocabulary

    vocabulary = Vocabulary.parse(args.words)
    pictures = find_inputs(args.inputs)
    sheet = compare_pictures(
        args.methods, pictures, vocabulary, args.output, device=args.device, most=args.samples
    )
    print(f"pictures  {sheet}")
    return 0


def _on_dataset(args: Namespace) -> int:
    from ..methods.configs import find_model
    from ..reports.comparison import Entry, compare

    entries = []
    for name in args.methods:
        config, weights = find_model(name)
        options = ["MODEL.DEVICE", args.device]
        options += ["MODEL.WEIGHTS", weights] if weights else []
        options += ["DATASETS.TEST", f"('{args.dataset}',)"] if args.dataset else []
        entries.append(Entry(name, str(config), tuple(options)))
    print(compare(entries, args.output, samples=args.samples))
    print(f"\ntable     {args.output / 'table.md'}\npictures  {args.output / 'sheet.png'}")
    return 0
