"""Counting what trains, in the three conventions that H-CLIP's tables mix.

``stored`` is what the optimiser sees. ``effective`` counts a rotation of side q as its q (q - 1) /
2 degrees of freedom. ``paper`` takes half of all blocks as orthogonal and those as q^2 / 2, which
gives the printed 5.63 (in units of 2^20), although text and image tower have 4 and 6 slots, not 5
and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from .model import CATSeg
from .pop import PartialOrthogonal

MEBI = 2**20
_PAPER_SHARE = {"none": 1.0, "text": 0.75, "both": 0.5}


@dataclass(frozen=True)
class POPCounts:
    """Parameters of the adaptation.

    Attributes:
        blocks: entries of the shared tensor.
        relations: entries of the relations.
        stored: what is trained and written to a checkpoint.
        effective: degrees of freedom of the blocks; relations not counted.
        paper: blocks and relations in the paper's convention.
    """

    blocks: int
    relations: int
    stored: int
    effective: int
    paper: float


def count_pop(pop: PartialOrthogonal) -> POPCounts:
    """Count the parameters of POP and DCRC."""
    size, rows, slots = pop.blocks.shape[1:]
    orthogonal = rows * pop.orthogonal_slots().stop
    free = rows * slots - orthogonal
    relations = sum(p.numel() for p in pop.relation.parameters()) if pop.relation else 0
    return POPCounts(
        blocks=pop.blocks.numel(),
        relations=relations,
        stored=sum(p.numel() for p in pop.parameters() if p.requires_grad),
        effective=free * size**2 + orthogonal * size * (size - 1) // 2,
        paper=_PAPER_SHARE[pop.settings.orthogonal] * rows * slots * size**2 + relations,
    )


def parameter_table(model: CATSeg) -> list[tuple[str, int]]:
    """Name the parts of a model and what each trains.

    Args:
        model: the model.

    Returns:
        Rows (part, trained parameters), then the totals.
    """
    parts = {
        "CLIP image tower": model.clip.visual,
        "shared adaptation": model.adaptation,
        "upsampling of image blocks": model.upsample,
        "decoder": model.decoder,
    }
    rows = [(name, _trained(part)) for name, part in parts.items()]
    text = _trained(model.clip.model) - _trained(model.clip.visual)
    rows.insert(1, ("CLIP text tower and temperature", text))
    clip = sum(count for name, count in rows[:3])
    rows.append(("trained on CLIP's side", clip))
    rows.append(("trained in all", _trained(model)))
    rows.append(("whole model", sum(p.numel() for p in model.parameters())))
    return rows


def _trained(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
