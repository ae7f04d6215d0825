"""Write a method with fixed words as one file that runs without the suite.

The file takes a picture of the stated size, (3, H, W) float32 RGB in 0..255, and gives its label
map (H, W). Its name chooses the kind: .pt2 for a torch.export program (needs only PyTorch), .onnx
for ONNX. After writing, the file is read back and compared with the model.
"""

from __future__ import annotations

import re
from argparse import REMAINDER, ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

SUMMARY = "write a method with fixed words as a torch.export program or ONNX"
EXAMPLES = (
    'ovsuite export cliptrase/tiny_scr --words "car, tree, sky" --size 192x256 --output scr.pt2',
    "ovsuite export clipteacher/segformer_b4_voc --weights voc.pth --words names.txt "
    "--size 512x512 --output student.onnx",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "method", help="method/config, a YAML file, or the output folder of a training"
    )
    parser.add_argument("--words", required=True, help="comma list, or a text file; a|b: synonyms")
    parser.add_argument("--size", required=True, type=_size, help="HxW of picture and labels")
    parser.add_argument("--output", required=True, type=Path, help="file to write: .pt2 or .onnx")
    parser.add_argument("--weights", default="", help="checkpoint (the config's MODEL.WEIGHTS)")
    parser.add_argument("--scores", action="store_true", help="give the (K, H, W) scores, too")
    parser.add_argument(
        "--pictures", nargs="+", default=(), metavar="FILE", help="compare on these (drawn ones)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument(
        "--opts", nargs=REMAINDER, default=[], help="KEY VALUE config overrides; comes last"
    )


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


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or not int(match[1]) or not int(match[2]):
        raise ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH, for example 512x683")
    return int(match[1]), int(match[2])
