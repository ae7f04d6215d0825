"""Three steps of a training, split in any way over processes and accumulated batches.

What a step logged and the gradients in front of the optimiser are kept, for comparison.
"""

import os
import socket
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn import functional as F

from ovs_core.engine.config import load_cfg
from ovs_core.engine.train_loader import Draws, seed_everything
from ovs_core.engine.trainer import Trainer
from ovs_core.methods.configs import find_config
from ovs_core.modeling.contract import bare
from ovs_core.words.label_space import IGNORE

BATCH, STEPS = 8, 3
BLANK = (6, 7)  # pictures of every step that lose their labels: with 4 processes all of the last's
# Adam makes a whole step of a gradient that is nothing but rounding; SGD takes it for what it is.
COMMON = [
    "SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", "0.9", "SOLVER.BASE_LR", "0.001",
    "MODEL.DEVICE", "cpu", "DATASETS.TEST", "()", "SOLVER.WARMUP_ITERS", "0", "SOLVER.MAX_ITER",
    "100", "DATALOADER.NUM_WORKERS", "0", "DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False",
]  # fmt: skip


@dataclass(frozen=True)
class Split:
    """How the eight pictures of a step are shared out."""

    processes: int
    accumulate: int = 1

    @property
    def name(self):
        return f"{self.processes}x{self.accumulate}"


ONE = Split(1)
SPLITS = (Split(2), Split(4), Split(1, 2), Split(1, 4), Split(2, 2))


def run(split, cases, folder):
    """Train every case of name -> (config, options) under a split; what came lies in the folder."""
    if split.processes == 1:
        return _run_cases(split, cases, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(
        _process, (split, port, cases, folder), nprocs=split.processes, start_method="fork"
    )


def results(split, name, folder):
    """What was kept: per step the logged losses, and name -> gradient."""
    return torch.load(Path(folder) / f"{name}-{split.name}.pt", weights_only=True)


def _process(rank, split, port, cases, folder):
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=split.processes)
    comm.create_local_process_group(split.processes)
    _run_cases(split, cases, folder)
    dist.barrier()
    dist.destroy_process_group()


def _run_cases(split, cases, folder):
    for name, (config, options) in cases.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept = train(config, options, split, Path(folder) / f"{name}-{split.name}")
        if comm.is_main_process():
            torch.save(kept, Path(folder) / f"{name}-{split.name}.pt")


def train(config, options, split, output):
    """Run the first steps of a config."""
    cfg = load_cfg(find_config(config), [*COMMON, *options, "OUTPUT_DIR", str(output)])
    cfg.SOLVER.IMS_PER_BATCH = BATCH // split.accumulate
    cfg.SOLVER.ACCUMULATE = split.accumulate
    seed_everything(cfg.SEED)
    trainer = Trainer(cfg)
    _blank(trainer._trainer.data_loader)
    _smooth(trainer._trainer.model)
    model, optimizer, kept = bare(trainer._trainer.model), trainer.optimizer, []
    step = optimizer.step

    def keep(*args, **kwargs):
        kept.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        return step(*args, **kwargs)

    optimizer.step = keep
    losses = []
    for number in range(STEPS):
        with EventStorage(number) as storage:
            trainer.iter = number
            trainer.run_step()
        trainer.scheduler.step()
        logged = storage.latest()
        losses.append({n: v for n, (v, _) in logged.items() if "loss" in n})
    return {"losses": losses, "gradients": kept}


def _smooth(model):
    """Take GELU for ReLU, whose gradient jumps where rounding moves a number across zero."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.GELU())
        if getattr(module, "activation", None) is F.relu:  # of Detectron2's convolutions
            module.activation = F.gelu


def _blank(loader):
    """Take the labels off some pictures of every step."""
    draws = loader.dataset
    while not isinstance(draws, Draws):
        draws = draws.dataset
    mapped = type(draws).__getitem__

    class Blanking(Draws):
        def __getitem__(self, draw):
            sample = mapped(self, draw)
            if draw % BATCH in BLANK:
                _take_labels(sample)
            return sample

    draws.__class__ = Blanking


def _take_labels(sample):
    if "sem_seg" in sample:
        sample["sem_seg"] = torch.full_like(sample["sem_seg"], IGNORE)
    if "instances" in sample:
        found = sample["instances"]
        left = Instances(found.image_size)
        for name, value in found.get_fields().items():
            left.set(name, value[torch.zeros(len(found), dtype=torch.bool)])
        sample["instances"] = left
