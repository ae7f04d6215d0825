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

from .adaptation import parametrized, towers, unadapted
from .model import CATSeg
from .pop import ROWS_PER_LAYER, CodeRelation, PartialOrthogonal
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
    finished = adaptation_of(model).finished_blocks()
    for name, tower in towers(model.clip).items():
        for layer, block in enumerate(tower.resblocks):
            attn = block.attn
            inputs, output = unadapted(attn, "in_proj_weight"), unadapted(attn.out_proj, "weight")
            before = (*inputs.chunk(3), output)
            after = (*attn.in_proj_weight.chunk(3), attn.out_proj.weight)
            defects = orthogonality_defect(finished[name][layer]).amax(dim=-1)
            for matrix, old, new, defect in zip(MATRICES, before, after, defects, strict=True):
                first, last = (float(hyperspherical_energy(w.double())) for w in (old, new))
                yield LayerReport(name, layer, matrix, first, last, float(defect))


def energy_change(model: CATSeg) -> float:
    """Largest change of an attention weight's hyperspherical energy by adaptation, in percent.

    Args:
        model: a model adapted in any way; 0 for a frozen CLIP.
    """
    return max([0.0, *(abs(c) for own in energy_changes(model).values() for c in own)])


@torch.no_grad()
def energy_changes(model: CATSeg) -> dict[str, list[float]]:
    """Change of every adapted matrix's hyperspherical energy, in percent.

    Args:
        model: a model adapted in any way.

    Returns:
        ``text``, ``image`` (``other`` for what is in neither transformer) -> one figure for each
        of query, key, value and output of each block; none of what is not adapted.
    """
    inside = {id(m): name for name, tower in towers(model.clip).items() for m in tower.modules()}
    changes: dict[str, list[float]] = {}
    for module, name in parametrized(model.clip):
        old, new = unadapted(module, name), getattr(module, name)
        if old.ndim != 2:
            continue
        own = changes.setdefault(inside.get(id(module), "other"), [])
        count = old.shape[0] // old.shape[1] if name == "in_proj_weight" else 1
        for before, after in zip(old.chunk(count), new.chunk(count), strict=True):
            first, last = (float(hyperspherical_energy(w.double())) for w in (before, after))
            own.append(100 * (last / first - 1))
    return changes


def relation_matrices(pop: PartialOrthogonal) -> dict[str, dict[str, Tensor]]:
    """Name the learned relation matrices.

    Returns:
        ``layers`` -> title -> (R, R) over rows, ``slots`` -> title -> (M, M) over slots, paper form
        also ``alpha`` -> title -> (R, M); empty without DCRC.
    """
    relation = pop.relation
    if relation is None:
        return {}
    if isinstance(relation, CodeRelation):
        slots = {f"layer {i}": m for i, m in enumerate(relation.slots.detach())}
        return {"layers": {"L": relation.layers.detach()}, "slots": slots}
    parts = {"layers": relation.layers, "slots": relation.slots}
    found = {n: {f"W{i + 1}": m.detach() for i, m in enumerate(p)} for n, p in parts.items()}
    return found | {"alpha": {"alpha": relation.alpha.detach()}}


def draw_relations(pop: PartialOrthogonal, folder: Path) -> list[Path]:
    """Draw how far the relations are from the identity (and alpha from zero).

    Args:
        pop: the shared adaptation.
        folder: made if needed.

    Returns:
        ``layers.png``, ``slots.png`` and, in paper form, ``alpha.png``; destinations are rows,
        sources columns; red is positive, blue negative, on one scale per file.
    """
    rows = [f"{i // ROWS_PER_LAYER}" if i % ROWS_PER_LAYER == 0 else "" for i in
            range(ROWS_PER_LAYER * pop.depth)]  # fmt: skip
    slots = [f"{tower.name} {i}" for tower, count in zip(pop.towers, pop.counts, strict=True)
             for i in range(count)]  # fmt: skip
    names = {"layers": (rows, rows), "slots": (slots, slots), "alpha": (rows, slots)}
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, matrices in relation_matrices(pop).items():
        values = {title: m.cpu().numpy() for title, m in matrices.items()}
        if kind != "alpha":
            values = {title: m - np.eye(len(m)) for title, m in values.items()}
        paths.append(folder / f"{kind}.png")
        _draw_matrices(values, *names[kind], paths[-1])
    return paths


def _draw_matrices(
    matrices: dict[str, np.ndarray], rows: list[str], columns: list[str], path: Path
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    limit = max(float(np.abs(m).max()) for m in matrices.values()) or 1.0
    across = min(4, len(matrices))
    down = -(-len(matrices) // across)
    side = 5 if across == 1 else 2.6
    figure, axes = pyplot.subplots(
        down, across, figsize=(side * across + 1, side * down), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, (title, matrix) in zip(axes.flat, matrices.items(), strict=False):
        axis.set_visible(True)
        image = axis.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
        axis.set_yticks(range(len(rows)), rows, fontsize=7)
        axis.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=0.7)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def adaptation_of(model: CATSeg) -> POPAdaptation:
    """Give the rotations of a model adapted by H-CLIP or OFT.

    Raises:
        UserError: if it is adapted in another way.
    """
    if not isinstance(model.adaptation, POPAdaptation):
        raise UserError(
            f"MODEL.CATSEG.FINETUNE {model.adaptation.mode} has no rotations to look at; "
            "use a config with hclip or oft"
        )
    return model.adaptation
