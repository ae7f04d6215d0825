#!/usr/bin/env python
"""Write the paper's pictures of one image: attention, global patches, clusters, labels.

Examples:
  python tools/visualize_cliptrase.py photo.jpg --words "cat, sofa, wall"
  python tools/visualize_cliptrase.py scene.png --config cliptrase/tiny --words "car, sky, grass"
  python tools/visualize_cliptrase.py photo.jpg --words "cat, wall" --patch 5,7 --raw
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from cliptrase.figures import write_views
from ovs_core.data.mapper import read_picture
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config


def main() -> None:
    """Read the picture, build the model, write the views."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", type=Path, help="picture file")
    parser.add_argument("--words", required=True, help="comma-separated names, or a text file")
    parser.add_argument("--config", default="cliptrase/vitb16", help="config (cliptrase/vitb16)")
    parser.add_argument("--output", type=Path, help="folder (output/cliptrase/views/<image>)")
    parser.add_argument("--patch", type=_patch, help="patch to look at as ROW,COLUMN (the middle)")
    parser.add_argument("--raw", action="store_true", help="products before the softmax")
    parser.add_argument("options", nargs="*", help="KEY VALUE config overrides")
    args = parser.parse_intermixed_args()
    picture = torch.from_numpy(read_picture(args.image).transpose(2, 0, 1).copy())
    model = build_segmenter(load_cfg(find_config(args.config), args.options))
    model.set_vocabulary(args.words)
    folder = args.output or Path("output/cliptrase/views") / args.image.stem
    report = write_views(model, picture, folder, patch=args.patch, raw=args.raw)
    print(f"{report['clusters']} clusters, {report['noise_patches']} noise patches")
    print(f"written to {folder}")


def _patch(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not ROW,COLUMN, for example 5,7")
    return int(parts[0]), int(parts[1])


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
