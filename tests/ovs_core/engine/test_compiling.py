"""Compiled blocks train as others do, and are compiled in the first steps alone."""

import pytest
import torch
import torch._dynamo
from detectron2.utils.events import EventStorage

from ovs_core.engine.compiling import check_backend
from ovs_core.engine.config import load_cfg
from ovs_core.engine.train_loader import seed_everything
from ovs_core.engine.trainer import Trainer
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from tests.ovs_core.engine import splits
from tests.ovs_core.engine.test_equal_splits import SMALL_HCLIP, SPTSEG

CASES = {
    "adapted weights": ("hclip/tiny", SMALL_HCLIP),
    "prompts": ("sptseg/tiny", SPTSEG),
}


MADE = []  # programs


@torch._dynamo.register_backend(name="counting")
def counting(graph, inputs):
    """Run a program as it is."""
    MADE.append(graph)
    return graph.forward


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_compiled_from_the_third_step_on(case, tmp_path):
    torch._dynamo.reset()
    expected, _ = train(case, [], tmp_path / "plain")
    losses, counts = train(case, ["SOLVER.COMPILE", "counting"], tmp_path / "run")
    torch._dynamo.reset()
    assert counts[0] > 0 and sum(counts[2:]) == 0, counts
    assert losses == pytest.approx(expected, rel=1e-5)


def test_an_unknown_backend():
    with pytest.raises(UserError, match="SOLVER.COMPILE: .*inductr.*inductor"):
        check_backend("inductr")


def train(case, keys, folder):
    """Losses of three steps, and how many programs were made in each."""
    config, own = CASES[case]
    size = ["SOLVER.IMS_PER_BATCH", "1", "OUTPUT_DIR", str(folder)]
    cfg = load_cfg(find_config(config), [*splits.COMMON, *own, *size, *keys])
    seed_everything(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    losses, counts = [], []
    for number in range(3):
        with EventStorage(number) as storage:
            trainer.iter = number
            trainer.run_step()
        losses.append(storage.latest()["total_loss"][0])
        counts.append(len(MADE))
        MADE.clear()
    return losses, counts
