"""Pictures of evaluations, and services that keep track of trainings."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ovs_core.engine.run import run
from ovs_core.errors import UserError
from ovs_core.modeling.checkpoint import read_checkpoint

OPTIONS = ["SOLVER.MAX_ITER", "4", "TEST.EVAL_PERIOD", "2", "TEST.LOG_PICTURES", "2"]


class Wandb:
    """Stands in for the package."""

    Image = staticmethod(lambda image: image)

    def __init__(self, said):
        self.said = said

    def init(self, **options):
        self.said.append(("init", options))

        def log(values, step):
            self.said.extend((name, step, value) for name, value in values.items())

        return SimpleNamespace(log=log, finish=lambda: self.said.append(("finish",)))


class MLflow:
    """Stands in for the package."""

    def __init__(self, said):
        self.said = said

    def start_run(self, run_name):
        self.said.append(("init", {"name": run_name}))

    def log_dict(self, config, file):
        self.said[0][1]["config"] = config

    def log_metrics(self, values, step):
        self.said.extend((name, step, value) for name, value in values.items())

    def log_image(self, image, key, step):
        self.said.append((key, step, image))

    def end_run(self):
        self.said.append(("finish",))


@pytest.mark.parametrize(("name", "kind"), [("wandb", Wandb), ("mlflow", MLflow)])
def test_a_service_gets_figures_and_pictures(world, tmp_path, monkeypatch, name, kind):
    said = []
    monkeypatch.setitem(sys.modules, name, kind(said))
    run(str(world / "toy.yaml"), [*OPTIONS, "TRACKERS", f"['{name}']"])
    opened, *logged, last = said
    assert last == ("finish",) and opened[1]["name"] == "run"
    assert opened[1]["config"]["SOLVER.MAX_ITER"] == 4
    names = {entry[0] for entry in logged}
    assert {"total_loss", "lr", "memory_mib", "sem_seg/mIoU"} <= names
    steps = [step for _, step, _ in logged]
    assert steps == sorted(steps)
    images = [image for entry, _, image in logged if entry == "toy_val"]
    assert len(images) == 2 and all(i.dtype == np.uint8 and i.shape[2] == 3 for i in images)
    assert [step for entry, step, _ in logged if entry == "total_loss"] == [3]


def test_tensorboard_has_the_pictures_which_change_no_training(world, tmp_path):
    run(str(world / "toy.yaml"), OPTIONS)
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Images("toy_val")] == [1, 4]
    assert "total_loss" in events.Tags()["scalars"]
    first = events.Images("toy_val")[0]
    assert first.width > 3 * 40 and first.height > 2 * 48  # picture, truth, found; two rows
    run(str(world / "toy.yaml"), [*OPTIONS[:4], "OUTPUT_DIR", str(tmp_path / "plain")])
    one, other = (read_checkpoint(tmp_path / n / "model_final.pth")["model"]
                  for n in ("run", "plain"))  # fmt: skip
    assert all(one[name].equal(other[name]) for name in other)


@pytest.mark.parametrize(
    ("names", "said"),
    [("['wandb']", r"wandb is not there .*pip install -e '\.\[wandb\]'"),
     ("['wandbb']", "'wandbb' is unknown. Did you mean 'wandb'")],
)  # fmt: skip
def test_a_service_that_is_not_there(world, monkeypatch, names, said):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=said):
        run(str(world / "toy.yaml"), ["TRACKERS", names])
