"""What the paper claims of ways to fine-tune CLIP."""

from __future__ import annotations

from collections.abc import Mapping

from detectron2.config import CfgNode

from ovs_core.reports.claims import Claim
from ovs_core.reports.subjects import build_as
from ovs_core.reports.tables import Row

from .analysis import energy_change
from .model import CATSeg


def measure_energy(cfg: CfgNode) -> Mapping[str, float]:
    """Largest change of an adapted matrix's hyperspherical energy, in percent."""
    return {"energy_change": energy_change(build_as(cfg, CATSeg))}


def _row(title: str, mode: str) -> Row:
    architecture = "HCLIP" if mode == "hclip" else "CATSeg"
    options = ("MODEL.META_ARCHITECTURE", architecture, "MODEL.CATSEG.FINETUNE", mode)
    return Row(title, "hclip/tiny", options, trained=True, measure=measure_energy)


FROZEN, LORA, OFT, HCLIP = (
    _row("decoder on frozen CLIP", "freeze"), _row("LoRA", "lora"), _row("OFT", "oft"),
    _row("H-CLIP", "hclip"),
)  # fmt: skip

FEW_UNSEEN = (
    "five classes are unseen, so that one of them is a fifth of the figure, and the seeds of a way "
    "lie as far apart as the ways; in the mIoU of all classes, in table.json of the run, H-CLIP is "
    "ahead of each"
)
SHORT_TRAINING = (
    "after 120 steps LoRA has changed the energy by a hundredth of a percent, too, so that there "
    "is nothing to keep yet; ovsuite analyse output/hclip_tiny --curve follows it over the steps"
)

CLAIMS = (
    Claim("H-CLIP is better than a frozen CLIP", "H-CLIP, Table 3", HCLIP, FROZEN),
    *(
        Claim(
            f"H-CLIP is better on unseen classes than {row.title}", "H-CLIP, Table 3", HCLIP, row,
            "mIoU_U", reason=FEW_UNSEEN,
        )
        for row in (FROZEN, LORA, OFT)
    ),
    *(
        Claim(
            f"{row.title} keeps the energy of CLIP's weights better than LoRA",
            "H-CLIP, Section 3.2", row, LORA, "energy_change", less=True, reason=SHORT_TRAINING,
        )
        for row in (OFT, HCLIP)
    ),
)  # fmt: skip
