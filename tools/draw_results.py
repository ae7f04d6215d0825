#!/usr/bin/env python
"""Draw what each method makes of two drawn scenes, for the READMEs of the projects.

    python tools/draw_results.py                  # all, with the weights that the suite carries
    python tools/draw_results.py --only hclip

Writes docs/result_<project>.jpg: picture, truth, and the labels of each config.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ovs_core.commands.options import add_only, read_line, tool_parser
from ovs_core.engine.config import load_cfg
from ovs_core.errors import check_choice
from ovs_core.files.writing import atomic_path
from ovs_core.methods.configs import find_model
from ovs_core.reports.picture_sheet import picture_sheet

FOLDER = Path(__file__).resolve().parents[1] / "docs"
CONFIGS = {
    "cliptrase": ("tiny_clip", "tiny_sclip", "tiny"),
    "hclip": ("tiny_catseg", "tiny"),
    "sptseg": ("tiny_zegclip", "tiny"),
    "clipteacher": ("tiny",),
    "maftplus": ("tiny_fcclip", "tiny", "tiny_panoptic"),
}
DATASET = "embedded_sem_seg_val"
SCENES, WIDTH, QUALITY = 2, 900, 75


def main(argv: list[str] | None = None) -> None:
    """Draw what is asked for."""
    parser = tool_parser(__doc__)
    add_only(parser)
    args = read_line(parser, argv)
    for project in args.only or CONFIGS:
        check_choice("--only", project, CONFIGS)
        print(draw(project))


def draw(project: str) -> Path:
    """Draw the sheet of a project; replaces what the tool drew earlier."""
    columns = []
    for name in CONFIGS[project]:
        config, weights = find_model(f"{project}/{name}")
        pairs = ["MODEL.DEVICE", "cpu", *(["MODEL.WEIGHTS", str(weights)] if weights else [])]
        columns.append((f"{project}/{name}", load_cfg(config, pairs)))
    sheet = picture_sheet(columns, SCENES, dataset=DATASET)
    assert sheet is not None  # all of these label pixels
    path = FOLDER / f"result_{project}.jpg"
    with atomic_path(path) as part:
        shown = Image.fromarray(sheet)
        shown.thumbnail((WIDTH, shown.height), Image.Resampling.LANCZOS)
        shown.save(part, quality=QUALITY, optimize=True)
    return path


if __name__ == "__main__":
    main()
