"""Weights that are shared out over processes (FSDP2) train, and are written, as whole ones."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from ovs_core.engine.config import load_cfg
from ovs_core.engine.preflight import check_run
from ovs_core.engine.run import build_segmenter
from ovs_core.engine.sharding import gathered, shard
from ovs_core.engine.train_loader import seed_everything
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from tests.ovs_core.engine import splits
from tests.ovs_core.engine.test_equal_splits import CATSEG, GRADIENTS, LOSSES, differences

WHOLE = ("hclip/tiny", [*CATSEG, "full", "SOLVER.EMA_DECAY", "0.5"])
# Checkpointing gathers what it computes again once more; it changes no number.
SHARED = (
    WHOLE[0],
    [*WHOLE[1], "SOLVER.FSDP", "True", "MODEL.CATSEG.GRADIENT_CHECKPOINTING", "True"],
)


def test_a_training_and_its_checkpoint(tmp_path):
    begin, sharded, plain = splits.Split(2), splits.Split(2, 2), splits.Split(1, 2)
    splits.run(splits.ONE, {"full": WHOLE}, tmp_path)
    splits.run(begin, {"full": SHARED}, tmp_path, into="run", stop=2)
    written = torch.load(tmp_path / "full-run" / "model.pth", weights_only=True)
    assert not any(isinstance(tensor, DTensor) for tensor in written["model"].values())
    for split, case in ((sharded, SHARED), (plain, WHOLE)):
        splits.run(split, {"full": case}, tmp_path, into="run", resume=True)
    first, one = (splits.results(split, "full", tmp_path) for split in (begin, splits.ONE))
    for split in (sharded, plain):
        rest = splits.results(split, "full", tmp_path)
        losses, gradients = differences(one, {kind: first[kind] + rest[kind] for kind in one})
        assert losses < LOSSES and gradients < GRADIENTS, split.name


def test_an_evaluation_of_which_processes_have_unequal_shares(tmp_path):
    splits.start(2, _evaluate, tmp_path)
    before, *after = [torch.load(path, weights_only=True) for path in sorted(tmp_path.iterdir())]
    assert len(after) == 2 and all(torch.equal(before, labels) for labels in after)


def _evaluate(folder):
    cfg = load_cfg(find_config(WHOLE[0]), [*WHOLE[1], "MODEL.DEVICE", "cpu"])
    seed_everything(0)
    model = build_segmenter(cfg)
    model.set_vocabulary("sky, grass, car")
    shown = [{"image": torch.rand(3, 48, 64) * 255, "height": 48, "width": 64}]
    labels = model(shown)[0]["sem_seg_labels"]
    if dist.get_rank() == 0:
        torch.save(labels, folder / "0.pt")
    shard(model)
    assert any(isinstance(parameter, DTensor) for parameter in model.parameters())
    model.train().eval()
    with gathered(model):
        for _ in range(1 + dist.get_rank()):
            labels = model(shown)[0]["sem_seg_labels"]
    assert any(isinstance(parameter, DTensor) for parameter in model.parameters())
    torch.save(labels, folder / f"{1 + dist.get_rank()}.pt")


@pytest.mark.parametrize(
    "keys, processes, message",
    [
        ([], 1, "one process has nobody"),
        (["MODEL.CATSEG.FINETUNE", "attention"], 2, "attention leaves most of CLIP frozen"),
        (["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "float16"], 2, "take bfloat16"),
        (["SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value"], 2, "CLIP_TYPE is value"),
        (["TEST.BEST_METRIC", "sem_seg/mIoU", "TEST.EVAL_PERIOD", "9"], 2, "TEST.BEST_METRIC"),
        (["SOLVER.COMPILE", "eager"], 2, "SOLVER.COMPILE eager"),
    ],
)
def test_what_is_refused_before_a_model_is_built(keys, processes, message):
    cfg = load_cfg(find_config(SHARED[0]), [*SHARED[1], "MODEL.DEVICE", "cpu", *keys])
    with pytest.raises(UserError, match=f"SOLVER.FSDP True: .*{message}"):
        check_run(cfg, processes=processes, resume=False, eval_only=False)


def test_a_method_without_a_tower_that_trains_whole():
    keys = ["SOLVER.FSDP", "True", "MODEL.DEVICE", "cpu"]
    cfg = load_cfg(find_config("sptseg/tiny"), keys)
    with pytest.raises(UserError, match="SPTSeg has no tower that trains whole"):
        check_run(cfg, processes=2, resume=False, eval_only=False)
