"""Three steps of a training, split in any way over processes and accumulated batches.

What a step logged and the gradients in front of the optimiser are kept, for comparison.
"""

import os
import socket
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch.nn import functional as F

from ovs_core.engine.config import load_cfg
from ovs_core.engine.train_loader import Draws, seed_everything
from ovs_core.engine.trainer import Trainer
from ovs_core.methods.configs import find_config
from ovs_core.modeling.contract import bare
from ovs_core.tensor.sharded import whole
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


def run(split, cases, folder, **options):
    """Train every case of name -> (config, options) under a split; what came lies in the folder.

    Args:
        split: how the pictures are shared out.
        cases: what is trained.
        folder: where the results go.
        options: of ``train``; ``into`` names the folder of the run, else the split does.
    """
    if split.processes == 1:
        return _run_cases(split, cases, folder, options)
    start(split.processes, _run_cases, split, cases, folder, options)


def start(processes, run, *arguments):
    """Run something in processes that can talk to each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    every = (processes, port, run, arguments)
    mp.start_processes(_process, every, nprocs=processes, start_method="fork")


def kept(split, name, folder):
    """Whether a training was run already."""
    return _file(split, name, folder).is_file()


def results(split, name, folder):
    """What was kept: per step the logged losses, and name -> gradient."""
    return torch.load(_file(split, name, folder), weights_only=True)


def _file(split, name, folder):
    return Path(folder) / f"{name}-{split.name}.pt"


def _process(rank, processes, port, run, arguments):
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    comm.create_local_process_group(processes)
    run(*arguments)
    dist.barrier()
    dist.destroy_process_group()


def _run_cases(split, cases, folder, options):
    options = dict(options)
    into = options.pop("into", split.name)
    for name, (config, keys) in cases.items():
        output = Path(folder) / f"{name}-{into}"
        with warnings.catch_warnings(), _smooth():
            warnings.simplefilter("ignore")
            done = train(config, keys, split, output, **options)
        if comm.is_main_process():
            torch.save(done, _file(split, name, folder))


def train(config, keys, split, output, *, stop=STEPS, resume=False):
    """Run the first steps of a config, or go on with a run.

    Args:
        config: its name.
        keys: KEY VALUE overrides.
        split: how the pictures are shared out.
        output: folder of the run.
        stop: after so many steps, with a checkpoint if they are not all.
        resume: go on with the folder's checkpoint.
    """
    cfg = load_cfg(find_config(config), [*COMMON, *keys, "OUTPUT_DIR", str(output)])
    cfg.SOLVER.IMS_PER_BATCH = BATCH // split.accumulate
    cfg.SOLVER.ACCUMULATE = split.accumulate
    seed_everything(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    _blank(trainer._trainer.data_loader)
    gradients, losses = _kept_gradients(trainer), []
    for number in range(trainer.start_iter, stop):
        with EventStorage(number) as storage:
            trainer.iter = number
            trainer.run_step()
        trainer.scheduler.step()
        logged = storage.latest()
        losses.append({n: v for n, (v, _) in logged.items() if "loss" in n})
    if stop < STEPS:
        trainer.checkpointer.save("model", iteration=stop - 1)
    return {"losses": losses, "gradients": gradients}


def _kept_gradients(trainer):
    """A list to which every step adds name -> gradient, before the optimiser changes anything."""
    model, step, found = bare(trainer._trainer.model), trainer.optimizer.step, []

    def keep(*args, **kwargs):
        named = model.named_parameters()
        found.append({n: whole(p.grad).clone() for n, p in named if p.grad is not None})
        return step(*args, **kwargs)

    trainer.optimizer.step = keep
    return found


@contextmanager
def _smooth():
    """Round off ReLU's corner, where the gradient jumps when rounding moves a number across it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "relu", lambda x, inplace=False: F.softplus(x, beta=5))
        yield


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
