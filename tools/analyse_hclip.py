#!/usr/bin/env python
"""Count H-CLIP's parameters and look at what it has learned.

Examples:
  python tools/analyse_hclip.py --config-file projects/hclip/configs/vitb16.yaml \
      MODEL.CLIP.PRETRAINED random
  python tools/analyse_hclip.py --config-file projects/hclip/configs/tiny.yaml --energy \
      --weights output/hclip_tiny/model_final.pth --pictures output/relations
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from detectron2.modeling import build_model
from tabulate import tabulate

from hclip import CATSeg
from hclip.analysis import draw_relations, layer_reports
from hclip.counts import MEBI, count_pop, parameter_table
from hclip.rotation import POPAdaptation
from ovs_core.engine.checkpoint import OVSCheckpointer
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError


def main() -> int:
    """Print the tables that the command line asks for.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--weights", default="", help="checkpoint; default the untrained model")
    parser.add_argument("--energy", action="store_true", help="energy and defect of every layer")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the relations")
    parser.add_argument("opts", nargs="*", help="KEY VALUE overrides")
    args = parser.parse_intermixed_args()
    model = build_model(load_cfg(args.config_file, args.opts)).eval()
    if not isinstance(model, CATSeg):
        raise UserError(f"{args.config_file}: builds a {type(model).__name__}, not HCLIP or CATSeg")
    OVSCheckpointer(model).load(args.weights)
    _print_counts(model)
    if args.energy:
        _print_energies(model)
    if args.pictures:
        if not isinstance(model.adaptation, POPAdaptation):
            raise UserError(f"MODEL.CATSEG.FINETUNE {model.finetune.mode} has no relations")
        paths = draw_relations(model.adaptation.pop, args.pictures)
        print(f"{len(paths)} pictures in {args.pictures}")
    return 0


def _print_counts(model: CATSeg) -> None:
    rows = [(n, f"{c:,}", f"{c / MEBI:.2f}") for n, c in parameter_table(model)]
    headers = ("part", "parameters", "in 2^20")
    print(tabulate(rows, headers=headers, colalign=("left", "right", "right")))
    if isinstance(model.adaptation, POPAdaptation):
        counts = count_pop(model.adaptation.pop)
        rows = [(n, f"{c:,.0f}", f"{c / MEBI:.2f}") for n, c in vars(counts).items()]
        headers = ("adaptation", "parameters", "in 2^20")
        print("\n" + tabulate(rows, headers=headers, colalign=("left", "right", "right")))


def _print_energies(model: CATSeg) -> None:
    rows = [
        (r.tower, r.layer, r.matrix, r.energy_before, r.energy_after,
         100 * (r.energy_after / r.energy_before - 1), f"{r.defect:.1e}")
        for r in layer_reports(model)
    ]  # fmt: skip
    headers = ("tower", "layer", "matrix", "energy", "adapted", "change %", "defect")
    print("\n" + tabulate(rows, headers=headers, floatfmt=("", "", "", ".1f", ".1f", ".3f", "")))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
