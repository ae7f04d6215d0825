"""What the paper claims of the Global Learning Module."""

from __future__ import annotations

from ovs_core.reports.claims import Claim
from ovs_core.reports.tables import Row

WHOLE = Row("CLIPTeacher", "clipteacher/tiny", trained=True)
WITHOUT = Row(
    "without GLM", "clipteacher/tiny", ("MODEL.CLIPTEACHER.GLM.ENABLED", "False"), trained=True
)

CLAIMS = tuple(
    Claim(f"the module adds {where}", "CLIPTeacher, Table 3", WHOLE, WITHOUT, metric)
    for where, metric in (("on unseen classes", "mIoU_U"), ("in the harmonic mean", "hIoU"))
)
