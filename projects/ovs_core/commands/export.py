"""Write a method with fixed words as one file that runs without the suite.

The ending of the file's name chooses its kind: .pt2 for a torch.export program (needs only
PyTorch), .onnx for ONNX. Such a program takes a picture of the stated size, (3, H, W) float32 RGB
in 0..255, and gives its label map (H, W). A method of which a part runs alone, such as a student,
has a kind of its own: .pth, for pictures of any size; its README says how it is read. Without
--words the file knows the classes of the config's first test set. After writing, the file is read
back and compared with the model.

With --open the words come when the file runs: its inputs are pictures, embeddings of words and the
size of the labels, and the embeddings of --words are written beside it (.safetensors). An --output
that ends so writes the embeddings of other words alone. Without --size such a file takes pictures
of any size, where the method can.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..errors import UserError
from . import options, picture_options

SUMMARY = "write a method with fixed words as a torch.export program, ONNX, or a file of its own"
EXAMPLES = (
    'ovsuite export --method cliptrase/tiny_scr --words "car, tree, sky" --size 192x256 '
    "--output scr.pt2",
    "ovsuite export --method clipteacher/segformer_b4_voc --weights voc.pth --words names.txt "
    "--size 512x512 --output student.onnx",
    "ovsuite export --method clipteacher/segformer_b4_voc --weights voc.pth --output student.pth",
    'ovsuite export --method cliptrase/tiny_scr --open --words "car, tree, sky" --output open.onnx',
    'ovsuite export --method cliptrase/tiny_scr --open --words "dog, cat" --output new.safetensors',
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_method(parser, required=False)
    options.add_weights(parser)
    options.add_words(parser)
    options.add_size(parser)
    options.add_output(parser, required=True)
    options.add_device(parser, "cpu")
    parser.add_argument("--scores", action="store_true", help="give the (K, H, W) scores, too")
    parser.add_argument(
        "--open", action="store_true", help="words and sizes come when the file runs"
    )
    options.add_pictures(parser)
    options.add_overwrite(parser)
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Export and report the comparison."""
    picture_options.settle_method(args)
    if args.open:
        return _run_open(args)
    from ..export import export
    from ..predict.reading import find_files

    check = export(
        options.load_config_of(args),
        args.words,
        args.output,
        size=args.size,
        with_scores=args.scores,
        pictures=[Path(file) for file in find_files(args.pictures)],
        overwrite=args.overwrite,
    )
    print(f"{args.output}: {args.output.stat().st_size / 2**20:.1f} MiB\n{check}")
    return 0


def _run_open(args: Namespace) -> int:
    from ..export import export_open
    from ..predict.reading import find_files

    if args.scores:
        raise UserError(
            "--open: the file gives labels alone, whatever its words; take --scores out"
        )
    checks = export_open(
        options.load_config_of(args),
        args.words,
        args.output,
        size=args.size,
        pictures=[Path(file) for file in find_files(args.pictures)],
        overwrite=args.overwrite,
    )
    print(f"{args.output}: {args.output.stat().st_size / 2**20:.1f} MiB", *checks, sep="\n")
    return 0
