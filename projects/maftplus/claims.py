"""What the paper claims of tuning text and trunk with the masks."""

from __future__ import annotations

from ovs_core.reports.claims import Claim
from ovs_core.reports.tables import Row

FCCLIP = Row("FC-CLIP", "maftplus/tiny_fcclip", trained=True)


def _row(title: str, *options: str) -> Row:
    return Row(title, "maftplus/tiny_panoptic", options, trained=True)


MAFTPLUS = _row("MAFT+")
WITHOUT_CDT = _row("MAFT+ without CDT", "MODEL.MAFTPLUS.CDT", "False")
WITHOUT_RC = _row("MAFT+ without RC", "MODEL.MAFTPLUS.RC_WEIGHT", "0.0")

CLAIMS = tuple(
    Claim(sentence, "MAFT+, ablation", MAFTPLUS, row, metric)
    for sentence, row, metric in (
        ("MAFT+ is better than FC-CLIP", FCCLIP, "PQ"),
        ("MAFT+ is better than FC-CLIP at things", FCCLIP, "PQ_th"),
        ("content-dependent transfer adds", WITHOUT_CDT, "PQ"),
        ("representation compensation adds", WITHOUT_RC, "PQ"),
    )
)
