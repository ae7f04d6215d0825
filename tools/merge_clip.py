#!/usr/bin/env python
"""Fold a fine-tuned CLIP into a plain CLIP checkpoint, with no cost at inference.

Example:
  python tools/merge_clip.py --config-file projects/hclip/configs/vitb16.yaml \
      --weights output/hclip_vitb16/model_final.pth --output output/clip_merged.safetensors

The file loads with open_clip.create_model("ViT-B-16-quickgelu", pretrained="...safetensors"), and
in this suite as MODEL.CLIP.PRETRAINED. Works for FINETUNE hclip, oft, lora, ssf, attention and
full.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from detectron2.modeling import build_model

from hclip import CATSeg
from hclip.merge import check_target, merge
from ovs_core.engine.checkpoint import OVSCheckpointer
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError


def main() -> int:
    """Merge what the command line names.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="config the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint of the training run")
    parser.add_argument("--output", required=True, type=Path, help=".safetensors file to write")
    parser.add_argument("opts", nargs="*", help="KEY VALUE overrides")
    args = parser.parse_intermixed_args()
    check_target(args.output)  # before the model is built
    cfg = load_cfg(args.config_file, args.opts)
    model = build_model(cfg).eval()
    if not isinstance(model, CATSeg):
        raise UserError(f"{args.config_file}: builds a {type(model).__name__}, not HCLIP or CATSeg")
    OVSCheckpointer(model).load(args.weights)
    merge(model, args.output)
    print(f"wrote {args.output} ({args.output.stat().st_size / 2**20:.1f} MiB)")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
