"""Ways to fine-tune CLIP under one decoder, side by side."""

from __future__ import annotations

from ovs_core.reports.tables import EMBEDDED_WORLD, SPLIT_NOTE, Row, Table

from .finetune import MODES

MAIN = ("freeze", "lora", "oft", "hclip")


def _row(mode: str) -> Row:
    architecture = "HCLIP" if mode == "hclip" else "CATSeg"
    options = ("MODEL.META_ARCHITECTURE", architecture, "MODEL.CATSEG.FINETUNE", mode)
    return Row(mode, "hclip/tiny", options, trained=True, group=mode)


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
    )
}
