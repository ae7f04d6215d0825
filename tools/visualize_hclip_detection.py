#!/usr/bin/env python
"""Pictures of what a detector of the project hclip finds, on its test set or on your pictures.

Examples:
  python tools/visualize_hclip_detection.py hclip/detection/tiny \
      --weights output/hclip_detection_tiny/model_final.pth
  python tools/visualize_hclip_detection.py hclip/detection/ovcoco_vitb16_hclip --weights det.pth \
      --pictures photos/ --words "person, red umbrella, fire hydrant"
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode

from hclip import HCLIPDetector
from hclip.detection.figures import detection_sheet
from ovs_core.data.build import build_mapper, dataset_dicts
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.engine.trainer import set_test_words
from ovs_core.errors import UserError
from ovs_core.files.pictures import find_pictures
from ovs_core.files.writing import save_picture
from ovs_core.methods.configs import find_config


def main() -> None:
    """Draw what the command line asks for and say where it is."""
    args = _parse()
    options = ["MODEL.WEIGHTS", args.weights] if args.weights else []
    cfg = load_cfg(find_config(args.config), [*options, *args.options])
    records = _records(cfg, args.pictures, args.samples)
    print(draw(cfg, records, args.output, words=args.words, threshold=args.threshold))


def draw(
    cfg: CfgNode, records: list[dict], output: Path, *, words: str = "", threshold: float = 0.3
) -> Path:
    """Write the sheet of a detector.

    Args:
        cfg: finished config.
        records: Detectron2 dicts with ``file_name``.
        output: the PNG.
        words: what is looked for; "" for the words of the first test set.
        threshold: lowest score shown.

    Raises:
        UserError: if the config builds no detector, or has neither words nor a test set.
    """
    if cfg.MODEL.META_ARCHITECTURE != HCLIPDetector.__name__:
        raise UserError(f"{cfg.CONFIG_FILE}: builds no detector; give a config hclip/detection/...")
    model = build_segmenter(cfg)
    if words:
        model.set_vocabulary(words)
        # The truth is numbered by the data set's words, not by these.
        records = [{k: v for k, v in r.items() if k != "annotations"} for r in records]
    else:
        set_test_words(cfg, model, _test_set(cfg))
    mapper = build_mapper(cfg, is_train=False)
    return save_picture(detection_sheet(model, mapper, records, threshold=threshold), output)


def _records(cfg: CfgNode, pictures: Path | None, samples: int) -> list[dict]:
    if pictures is None:
        dicts = dataset_dicts([_test_set(cfg)])
        return [dicts[i] for i in np.linspace(0, len(dicts) - 1, samples).astype(int)]
    files = find_pictures(pictures) if pictures.is_dir() else [pictures]
    return [{"file_name": str(path)} for path in files]


def _test_set(cfg: CfgNode) -> str:
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty; name a data set, or give --pictures and --words")
    return cfg.DATASETS.TEST[0]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="hclip/detection/<config>, or a YAML file")
    parser.add_argument("--weights", default="", help="checkpoint (default: MODEL.WEIGHTS)")
    parser.add_argument("--pictures", type=Path, help="picture or folder (default: the test set)")
    parser.add_argument("--words", default="", help="comma list or text file (default: its words)")
    parser.add_argument("--samples", type=int, default=6, help="pictures of the test set (6)")
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score shown (0.3)")
    parser.add_argument("--output", type=Path, default=Path("output/hclip_detections.png"))
    parser.add_argument("options", nargs="*", help="KEY VALUE config overrides")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
