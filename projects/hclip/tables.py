"""Ways to fine-tune CLIP under one decoder, side by side."""

from __future__ import annotations

from ovs_core.reports.tables import EMBEDDED_WORLD, SPLIT_NOTE, Row, Table

from .finetune import MODES

MAIN = ("freeze", "lora", "oft", "hclip")


def _row(mode: str) -> Row:
    architecture = "HCLIP" if mode == "hclip" else "CATSeg"
    options = ("MODEL.META_ARCHITECTURE", architecture, "MODEL.CATSEG.FINETUNE", mode)
    return Row(mode, "hclip/tiny", options, trained=True, group=mode)


# Config -> side of its pictures, for `ovsuite doctor --gpu`.
REAL_SHAPES = {"hclip/vitb16": 384, "hclip/vitl14": 384}

TABLES = {
    "tiny": Table(
        summary="ways to fine-tune CLIP under one decoder, on the embedded world",
        rows=(
            Row("frozen CLIP, no decoder", "cliptrase/tiny_clip"),
            *(_row(mode) for mode in (*MAIN, *(mode for mode in MODES if mode not in MAIN))),
        ),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
        groups=MAIN,
    ),
    "demo": Table(
        summary="CAT-Seg and H-CLIP with the weights that come with them, on the embedded world",
        rows=(
            Row("CAT-Seg", "hclip/tiny_catseg", shipped=True),
            Row("H-CLIP", "hclip/tiny", shipped=True),
        ),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
    ),
    "demo_detection": Table(
        summary="the detector with the weights that come with it, on the embedded world",
        rows=(Row("H-CLIP's detector", "hclip/detection/tiny", shipped=True),),
        metrics=("AP50_base", "AP50_novel", "AP50_all", "AP"),
        caption="The embedded world, validation set, boxes of 20 things",
        pictures=False,
    ),
}
