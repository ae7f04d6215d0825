"""What the paper claims of spectral prompts and the spectral-guided decoder."""

from __future__ import annotations

from ovs_core.reports.claims import Claim
from ovs_core.reports.tables import Row

FROZEN = Row("frozen CLIP", "cliptrase/tiny_clip")
ZEGCLIP = Row("ZegCLIP", "sptseg/tiny_zegclip", trained=True)
SPTSEG = Row("SPT-SEG", "sptseg/tiny", trained=True)

SHORT_TRAINING = (
    "after 300 steps the two lie within two points, and what is taken off seen classes at test "
    "decides which is ahead; ovsuite tables sptseg/tiny-bias shows it"
)

CLAIMS = tuple(
    Claim(
        f"SPT-SEG is better than {row.title} {where}", "SPT-SEG, Table 1", SPTSEG, row, metric,
        reason=reason,
    )
    for row, reason in ((ZEGCLIP, SHORT_TRAINING), (FROZEN, ""))
    for where, metric in (("on unseen classes", "mIoU_U"), ("in the harmonic mean", "hIoU"))
)  # fmt: skip
