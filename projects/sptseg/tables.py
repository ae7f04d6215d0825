"""SPT-SEG beside its baseline and the frozen CLIP."""

from __future__ import annotations

from ovs_core.reports.tables import EMBEDDED_WORLD, SPLIT_NOTE, Row, Table

TABLES = {
    "tiny": Table(
        summary="frozen CLIP, ZegCLIP and SPT-SEG, on the embedded world",
        rows=(
            Row("frozen CLIP", "cliptrase/tiny_clip"),
            Row("ZegCLIP", "sptseg/tiny_zegclip", trained=True),
            Row("SPT-SEG", "sptseg/tiny", trained=True),
        ),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
    ),
    "demo": Table(
        summary="ZegCLIP and SPT-SEG with the weights that come with them, on the embedded world",
        rows=(
            Row("ZegCLIP", "sptseg/tiny_zegclip", shipped=True),
            Row("SPT-SEG", "sptseg/tiny", shipped=True),
        ),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
    ),
}
