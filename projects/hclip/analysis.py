"""Looking at what H-CLIP has learned: energies, orthogonality and relations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ovs_core.errors import UserError
from ovs_core.tensor import hyperspherical_energy, orthogonality_defect

from .model import CATSeg
from .pop import CodeRelation, PartialOrthogonal
from .rotation import POPAdaptation

MATRICES = ("query", "key", "value", "output")


@dataclass(frozen=True)
class LayerReport:
    """One attention weight before and after adaptation.

    Attributes:
        tower: ``text`` or ``image``.
        layer: block number.
        matrix: query, key, value or output.
        energy_before: hyperspherical energy of the pretrained weight.
        energy_after: of the adapted weight.
        defect: largest entry of |R^T R - I| over its blocks.
    """

    tower: str
    layer: int
    matrix: str
    energy_before: float
    energy_after: float
    defect: float


@torch.no_grad()
def layer_reports(model: CATSeg) -> Iterator[LayerReport]:
    """Compare every adapted attention weight with its pretrained value.

    Args:
        model: a model adapted by H-CLIP or OFT.

    Raises:
        UserError: if it is adapted in another way.
    """
    finished = _adaptation(model).finished_blocks()
    towers = {"text": model.clip.model.transformer, "image": model.clip.visual.transformer}
    for name, tower in towers.items():
        for layer, block in enumerate(tower.resblocks):
            attn = block.attn
            before = attn.parametrizations.in_proj_weight.original.chunk(3)
            before += (attn.out_proj.parametrizations.weight.original,)
            after = (*attn.in_proj_weight.chunk(3), attn.out_proj.weight)
            defects = orthogonality_defect(finished[name][layer]).amax(dim=-1)
            for matrix, old, new, defect in zip(MATRICES, before, after, defects, strict=True):
                energies = [float(hyperspherical_energy(w.double())) for w in (old, new)]
                yield LayerReport(name, layer, matrix, *energies, float(defect))


def relation_matrices(pop: PartialOrthogonal) -> dict[str, Tensor]:
    """Name the learned relation matrices.

    Returns:
        ``layers...`` -> (R, R) over rows, ``slots...`` -> (M, M) over slots, paper form also
        ``alpha`` (R, M); empty without DCRC.
    """
    relation = pop.relation
    if relation is None:
        return {}
    if isinstance(relation, CodeRelation):
        slots = {f"slots_layer_{i:02d}": m for i, m in enumerate(relation.slots.detach())}
        return {"layers": relation.layers.detach(), **slots}
    found = {f"layers_{i}": m.detach() for i, m in enumerate(relation.layers)}
    found |= {f"slots_{i}": m.detach() for i, m in enumerate(relation.slots)}
    return found | {"alpha": relation.alpha.detach()}


def draw_relations(pop: PartialOrthogonal, folder: Path) -> list[Path]:
    """Write a picture of each relation's departure from the identity.

    Args:
        pop: the shared adaptation.
        folder: made if needed.

    Returns:
        The files; red is positive, blue negative, on one scale per picture, named in its title.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, matrix in relation_matrices(pop).items():
        values = matrix.cpu().numpy()
        if name != "alpha":
            values = values - np.eye(len(values))
        limit = float(np.abs(values).max()) or 1.0
        figure, axes = pyplot.subplots(figsize=(5, 5))
        axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(f"{name}: departure from identity, largest {limit:.2g}")
        axes.set_xlabel("source")
        axes.set_ylabel("destination")
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=120, bbox_inches="tight")
        pyplot.close(figure)
    return paths


def _adaptation(model: CATSeg) -> POPAdaptation:
    if not isinstance(model.adaptation, POPAdaptation):
        raise UserError(
            f"MODEL.CATSEG.FINETUNE {model.finetune.mode} has no rotations to look at; "
            "use a config with hclip or oft"
        )
    return model.adaptation
