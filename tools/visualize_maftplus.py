#!/usr/bin/env python
"""Pictures of FC-CLIP or MAFT+: panoptic overlay, proposals with words, effect of the transfer.

Examples:
  python tools/visualize_maftplus.py maftplus/tiny --weights output/maftplus_tiny/model_final.pth
  python tools/visualize_maftplus.py maftplus/maftplus_large --weights maftp_l.pth \
      --pictures street.jpg --words "tram, cyclist, cobblestone"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from maftplus.figures import picture_sheets
from maftplus.mask_segmenter import MaskSegmenter
from ovs_core.data.build import dataset_dicts
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.engine.trainer import set_test_words
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture
from ovs_core.files.writing import save_picture
from ovs_core.methods.configs import find_config


def main() -> None:
    """Draw what the command line asks for and say where it is."""
    args = _parse()
    options = ["MODEL.WEIGHTS", args.weights] if args.weights else []
    cfg = load_cfg(find_config(args.config), [*options, *args.options])
    for path in draw(cfg, args.output, args.samples, args.pictures, args.words):
        print(path)


def draw(
    cfg: CfgNode,
    output: Path,
    samples: int,
    pictures: Sequence[Path] = (),
    words: str = "",
) -> list[Path]:
    """Write the pictures of a model.

    Args:
        cfg: finished config.
        output: folder.
        samples: pictures taken from the first test set, if none are given.
        pictures: own pictures.
        words: own words, comma-separated or a text file; default the words of the test set.

    Returns:
        The files.

    Raises:
        UserError: if the config builds another method, or there is nothing to show.
    """
    model = build_segmenter(cfg)
    if not isinstance(model, MaskSegmenter):
        raise UserError("give a config of the project maftplus")
    if not cfg.DATASETS.TEST and not (pictures and words):
        raise UserError("DATASETS.TEST is empty; give --pictures and --words")
    if words:
        model.set_vocabulary(words)
    else:
        set_test_words(cfg, model, cfg.DATASETS.TEST[0])
    if not pictures:
        dicts = dataset_dicts(cfg.DATASETS.TEST[:1])
        places = np.linspace(0, len(dicts) - 1, samples).astype(int)
        pictures = [Path(dicts[i]["file_name"]) for i in places]
    resize = T.AugmentationList(utils.build_augmentation(cfg, False))
    written = []
    for path in pictures:
        image = read_picture(path)
        inputs = T.AugInput(image)
        resize(inputs)
        tensor = torch.from_numpy(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))
        for kind, sheet in picture_sheets(model, tensor, image).items():
            written.append(save_picture(sheet, output / f"{path.stem}_{kind}.png"))
    return written


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="maftplus/<config>, or a YAML file")
    parser.add_argument("--weights", default="", help="checkpoint (default: MODEL.WEIGHTS)")
    parser.add_argument("--output", type=Path, default=Path("output/maftplus_pictures"))
    parser.add_argument("--samples", type=int, default=4, help="pictures of the test set (4)")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="own pictures")
    parser.add_argument("--words", default="", help="own words (default: the test set's)")
    parser.add_argument("--options", nargs="*", default=[], help="KEY VALUE config overrides")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
