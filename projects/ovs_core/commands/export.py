"""Write a method with fixed words as one file that runs without the suite.

The file takes a picture of the stated size, (3, H, W) float32 RGB in 0..255, and gives its label
map (H, W). Its name chooses the kind: .pt2 for a torch.export program (needs only PyTorch), .onnx
for ONNX. After writing, the file is read back and compared with the model.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from . import options

SUMMARY = "write a method with fixed words as a torch.export program or ONNX"
EXAMPLES = (
    'ovsuite export cliptrase/tiny_scr --words "car, tree, sky" --size 192x256 --output scr.pt2',
    "ovsuite export clipteacher/segformer_b4_voc --weights voc.pth --words names.txt "
    "--size 512x512 --output student.onnx",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_method(parser)
    options.add_weights(parser)
    options.add_words(parser, required=True)
    options.add_size(parser, required=True)
    options.add_output(parser, required=True)
    parser.add_argument("--scores", action="store_true", help="give the (K, H, W) scores, too")
    options.add_pictures(parser)
    options.add_overwrite(parser)
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Export and report the comparison."""
    from ..engine.config import load_cfg
    from ..export import export
    from ..methods.configs import find_model

    config, found = find_model(args.method)
    weights = args.weights or found
    chosen = ["MODEL.WEIGHTS", weights] if weights else []
    cfg = load_cfg(config, ["MODEL.DEVICE", "cpu", *chosen, *args.opts])
    check = export(
        cfg,
        args.words,
        args.output,
        size=args.size,
        with_scores=args.scores,
        pictures=args.pictures,
        overwrite=args.overwrite,
    )
    print(f"{args.output}: {args.output.stat().st_size / 2**20:.1f} MiB\n{check}")
    return 0
