"""FC-CLIP and MAFT+ before and after training."""

from __future__ import annotations

from ovs_core.reports.tables import EMBEDDED_WORLD, SPLIT_NOTE, Row, Table

METHODS = {
    "FC-CLIP, panoptic": "maftplus/tiny_fcclip",
    "MAFT+, panoptic": "maftplus/tiny_panoptic",
    "MAFT+, semantic": "maftplus/tiny",
}
# The semantic model too is measured on the panoptic set, whose pictures and labels are the same.
TEST = ("DATASETS.TEST", '("embedded_panoptic_val",)')
METRICS = ("PQ", "PQ_th", "PQ_st", "AP", "AP50", "mIoU", "pACC")
CAPTION = "The embedded world, validation set, 28 classes, 20 of them things"

# Config -> side of its pictures, for `ovsuite doctor --gpu`.
REAL_SHAPES = {"maftplus/maftplus_base": 640}

TABLES = {
    "tiny": Table(
        summary="FC-CLIP and MAFT+ before and after training, on the embedded world",
        rows=tuple(
            row
            for title, config in METHODS.items()
            for row in (
                Row(f"{title}, untrained head", config, TEST),
                Row(title, config, TEST, trained=True),
            )
        ),
        metrics=METRICS,
        caption=CAPTION,
        note="PQ_th, PQ_st: things, stuff. AP: masks. mIoU: mean over classes with ground truth.\n"
        "An untrained head has random weights; its CLIP is the shipped one.",
    ),
    "demo": Table(
        summary="semantic MAFT+ with the weights that come with it, on the embedded world",
        rows=(Row("MAFT+", "maftplus/tiny", shipped=True),),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
    ),
    "demo_panoptic": Table(
        summary="FC-CLIP and panoptic MAFT+ with the weights that come with them",
        rows=(
            Row("FC-CLIP, panoptic", "maftplus/tiny_fcclip", shipped=True),
            Row("MAFT+, panoptic", "maftplus/tiny_panoptic", shipped=True),
        ),
        metrics=METRICS,
        caption=CAPTION,
    ),
}
