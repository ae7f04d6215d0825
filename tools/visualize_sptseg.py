#!/usr/bin/env python
"""Pictures of a trained SPT-SEG or ZegCLIP: seen/unseen overlays, class masks, spectral filter.

Examples:
  python tools/visualize_sptseg.py sptseg/tiny --weights output/sptseg_tiny/model_final.pth
  python tools/visualize_sptseg.py sptseg/sptseg_voc_inductive --weights voc.pth --samples 10
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode

from ovs_core.data.build import build_mapper, dataset_dicts
from ovs_core.data.labels import load_labels
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.engine.trainer import set_test_words
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture
from ovs_core.files.writing import save_picture
from ovs_core.methods.configs import find_config
from ovs_core.words.label_space import label_space
from sptseg.figures import filter_sheet, filters_of, mask_sheet, seen_unseen_sheet


def main() -> None:
    """Draw what the command line asks for and say where it is."""
    args = _parse()
    options = ["MODEL.WEIGHTS", args.weights] if args.weights else []
    cfg = load_cfg(find_config(args.config), [*options, *args.options])
    for path in draw(cfg, args.output, args.samples):
        print(path)


def draw(cfg: CfgNode, output: Path, samples: int) -> list[Path]:
    """Write the pictures of a model.

    Args:
        cfg: finished config; the first test set is shown.
        output: folder.
        samples: pictures of the overlay sheet; half as many mask sheets.

    Returns:
        The files.

    Raises:
        UserError: if the config builds another method or names no test set.
    """
    if cfg.MODEL.META_ARCHITECTURE != "SPTSeg" or not cfg.DATASETS.TEST:
        raise UserError("give a config of the project sptseg that names a DATASETS.TEST")
    name = cfg.DATASETS.TEST[0]
    model = build_segmenter(cfg)
    set_test_words(cfg, model, name)
    model.output = "labels"
    dicts = dataset_dicts([name])
    chosen = [dicts[i] for i in np.linspace(0, len(dicts) - 1, samples).astype(int)]
    mapper = build_mapper(cfg, is_train=False)
    inputs = [mapper(dict(record)) for record in chosen]
    originals = [read_picture(r["file_name"]) for r in chosen]
    space = label_space(name)
    truths = [load_labels(record, space) for record in chosen]
    written = [
        save_picture(
            seen_unseen_sheet(model, inputs, originals, truths), output / "seen_unseen.png"
        )
    ]
    for index in range((samples + 1) // 2):
        picture = mask_sheet(model, inputs[index], originals[index])
        written.append(save_picture(picture, output / f"masks_{index}.png"))
    if cfg.MODEL.SPTSEG.SPECTRAL.LAYERS:
        for index, weight in enumerate(filters_of(model)):
            path = output / f"filter_{index}.png"
            written.append(save_picture(filter_sheet(weight), path))
    return written


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="sptseg/<config>, or a YAML file")
    parser.add_argument("--weights", default="", help="checkpoint (default: MODEL.WEIGHTS)")
    parser.add_argument("--output", type=Path, default=Path("output/sptseg_pictures"))
    parser.add_argument("--samples", type=int, default=4, help="pictures (4)")
    parser.add_argument("options", nargs="*", help="KEY VALUE config overrides")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
