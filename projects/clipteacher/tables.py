"""CLIPTeacher without one of its parts at a time: Tables 3, 4 and 5 of the paper."""

from __future__ import annotations

from ovs_core.reports.tables import EMBEDDED_WORLD, SPLIT_NOTE, Row, Table

KEY = "MODEL.CLIPTEACHER"
# (table of the paper, title, what differs from the whole method)
ROWS = (
    ("3", "no focal, dice", (f"{KEY}.LOSS.FOCAL", "0.0", f"{KEY}.LOSS.DICE", "0.0")),
    ("3", "no CE", (f"{KEY}.LOSS.CE", "0.0")),
    ("3", "no GLM", (f"{KEY}.GLM.ENABLED", "False")),
    ("3", "no generate", (f"{KEY}.LOSS.GENERATE", "0.0")),
    ("4", "GLM: max", (f"{KEY}.GLM.POOL", "max")),
    ("4", "GLM: mean", (f"{KEY}.GLM.POOL", "mean")),
    ("5", "VLA: MLP", (f"{KEY}.VLA.TYPE", "mlp")),
    ("5", "VLA: original features", (f"{KEY}.VLA.TYPE", "identity")),
)

# Config -> side of its pictures, for `ovsuite doctor --gpu`.
REAL_SHAPES = {"clipteacher/segformer_b4_coco": 512}

TABLES = {
    "tiny": Table(
        summary="CLIPTeacher without one part at a time (Tables 3 to 5), on the embedded world",
        rows=(
            Row("frozen CLIP", "cliptrase/tiny_clip"),
            *(
                Row(title, "clipteacher/tiny", options, trained=True, group=table)
                for table, title, options in ROWS
            ),
            Row("CLIPTeacher", "clipteacher/tiny", trained=True),
        ),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
        groups=("3",),
    ),
    "demo": Table(
        summary="CLIPTeacher with the weights that come with it, on the embedded world",
        rows=(Row("CLIPTeacher", "clipteacher/tiny", shipped=True),),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
    ),
}
