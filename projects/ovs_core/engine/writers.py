"""Writers of figures and pictures for services that keep track of trainings."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage

from ..errors import UserError, check_choice
from .config import dotted_keys


class Tracker(EventWriter):
    """Hands what a training has logged since the last time to a service.

    A service of your own derives from this one and goes into ``TRACKERS``.

    Args:
        service: the package that it is reached through.
        cfg: finished config.
    """

    package: str

    def __init__(self, service: Any, cfg: CfgNode) -> None:
        self.service = service
        self._last = -1
        keys = dotted_keys(cfg)
        self.begin(Path(cfg.OUTPUT_DIR), {k: v for k, v in keys if not isinstance(v, CfgNode)})

    @abstractmethod
    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Open the run of an output folder, or go on with it; ``config``: dotted key -> value."""

    @abstractmethod
    def figures(self, values: Mapping[str, float], iteration: int) -> None:
        """Keep what was logged of one iteration."""

    @abstractmethod
    def picture(self, name: str, image: np.ndarray, iteration: int) -> None:
        """Keep an (H, W, 3) uint8 picture."""

    def write(self) -> None:
        """Hand over what is new; pictures are left for TensorBoard, which comes last."""
        storage = get_event_storage()
        new: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in storage.latest_with_smoothing_hint(20).items():
            if iteration > self._last:
                new[iteration][name] = float(value)
        pictures: dict[int, dict[str, np.ndarray]] = defaultdict(dict)
        for name, image, iteration in storage._vis_data:
            pictures[iteration][name] = np.asarray(image).transpose(1, 2, 0)
        for iteration in sorted(new.keys() | pictures.keys()):  # services take no step back
            if iteration in new:
                self.figures(new[iteration], iteration)
            for name, image in pictures.get(iteration, {}).items():
                self.picture(name, image, iteration)
        self._last = max(new, default=self._last)


class WandbTracker(Tracker):
    """Weights & Biases; ``WANDB_PROJECT``, ``WANDB_MODE`` and the like say where it goes."""

    package = "wandb"

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Open the run."""
        self.run = self.service.init(
            dir=str(folder), name=folder.name, config=dict(config), resume="allow"
        )

    def figures(self, values: Mapping[str, float], iteration: int) -> None:
        """Log them."""
        self.run.log(dict(values), step=iteration)

    def picture(self, name: str, image: np.ndarray, iteration: int) -> None:
        """Log it."""
        self.run.log({name: self.service.Image(image)}, step=iteration)

    def close(self) -> None:
        """End the run."""
        self.run.finish()


class MLflowTracker(Tracker):
    """MLflow; ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME`` say where it goes."""

    package = "mlflow"

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Open the run."""
        self.service.start_run(run_name=folder.name)
        self.service.log_dict(dict(config), "config.json")

    def figures(self, values: Mapping[str, float], iteration: int) -> None:
        """Log them; MLflow allows no brackets in names."""
        named = {name.replace("[", "(").replace("]", ")"): v for name, v in values.items()}
        self.service.log_metrics(named, step=iteration)

    def picture(self, name: str, image: np.ndarray, iteration: int) -> None:
        """Log it."""
        self.service.log_image(image, key=name, step=iteration)

    def close(self) -> None:
        """End the run."""
        self.service.end_run()


TRACKERS: dict[str, type[Tracker]] = {"wandb": WandbTracker, "mlflow": MLflowTracker}


def check_trackers(names: Sequence[str]) -> None:
    """Refuse names of no service, or of one whose package is missing.

    Raises:
        UserError: names the extra to install.
    """
    for name in names:
        check_choice("TRACKERS", name, TRACKERS)
        _imported(name)


def build_trackers(cfg: CfgNode) -> list[Tracker]:
    """Open a run at each service of ``TRACKERS``."""
    check_trackers(cfg.TRACKERS)
    return [TRACKERS[name](_imported(name), cfg) for name in cfg.TRACKERS]


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(TRACKERS[name].package)
    except ImportError as error:
        raise UserError(
            f"TRACKERS: {name} is not there ({error}): pip install -e '.[{name}]'"
        ) from error
