"""Hyperspherical energy over a training: what each checkpoint has made of CLIP's weights."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovs_core.draw.charts import new_chart, save_chart
from ovs_core.errors import UserError
from ovs_core.files.checkpoint_files import FINAL, checkpoint_files

from .analysis import energy_changes
from .model import CATSeg


@dataclass(frozen=True)
class EnergyPoint:
    """A tower after some steps; changes in percent of the pretrained weights' energy.

    Attributes:
        steps: of the training.
        tower: ``text`` or ``image``.
        mean: over query, key, value and output weights of all blocks.
        least: of these.
        most: of these.
    """

    steps: int
    tower: str
    mean: float
    least: float
    most: float


def steps_of(folder: str | Path, length: int) -> dict[int, Path]:
    """List the checkpoints of a training by the steps that they have seen.

    Args:
        folder: output folder.
        length: steps of the whole training.

    Raises:
        UserError: if there is none.
    """
    found = {
        length if path.name == FINAL else int(path.stem.removeprefix("model_")) + 1: path
        for path in checkpoint_files(folder)
    }
    if not found:
        raise UserError(
            f"{folder} has no checkpoints; name the folder of a training, with a "
            "SOLVER.CHECKPOINT_PERIOD shorter than it"
        )
    return dict(sorted(found.items()))


def energy_curve(models: Iterable[tuple[int, CATSeg]]) -> list[EnergyPoint]:
    """Follow the energy over a training.

    Args:
        models: (steps, model with the weights of then); it may be one whose weights change.

    Returns:
        A point for each of them and each adapted tower.

    Raises:
        UserError: if nothing is adapted.
    """
    points = [
        EnergyPoint(steps, tower, statistics.mean(own), min(own), max(own))
        for steps, model in models
        for tower, own in energy_changes(model).items()
    ]
    if not points:
        raise UserError("MODEL.CATSEG.FINETUNE adapts no weight of this CLIP: no energy changes")
    return points


def draw_curve(points: Sequence[EnergyPoint], path: Path) -> None:
    """Draw the mean of each tower over the steps, and from the least to the most as a band."""
    figure, axis = new_chart(6, 4)
    for tower in dict.fromkeys(point.tower for point in points):
        own = [point for point in points if point.tower == tower]
        steps = [point.steps for point in own]
        axis.plot(steps, [point.mean for point in own], marker="o", label=tower)
        axis.fill_between(
            steps, [point.least for point in own], [point.most for point in own], alpha=0.2
        )
    axis.set_xlabel("steps")
    axis.set_ylabel("change of hyperspherical energy, %")
    axis.legend()
    save_chart(figure, path)
