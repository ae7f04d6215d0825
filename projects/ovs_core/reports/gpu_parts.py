"""The parts of a check of a GPU. On a CPU they run at a reduced size, to be tested there."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.utils.events import EventStorage

from ..data.embedded.scenes import render_scene
from ..engine.config import load_cfg
from ..engine.optimizer import build_optimizer
from ..engine.run import build_segmenter
from ..engine.train_loader import seed_everything
from ..engine.train_step import TrainStep
from ..methods.configs import find_config, list_configs
from ..methods.projects import SOURCE_ROOT, project_names
from ..predict.predictor import Predictor
from .benchmark import peak_memory
from .benchmark_inputs import numbered_words, smooth_picture, training_sample
from .catalog import labels_pixels, learns

Shown = Mapping[str, Any]
WORDS = ["car", "person", "dog", "tree", "grass", "sky", "water", "sand", "road", "wall"]
AGREE = 0.95  # share of the labels that bfloat16 may not change
STEPS, WORD_COUNT = 3, 150
BATCHES, BATCHES_ON_CPU = (1, 8, 32), (1, 2)
# Nothing is fetched: shapes and time are those of the real weights.
UNTRAINED = [
    "MODEL.CLIP.PRETRAINED", "random", "MODEL.WEIGHTS", "",
    "MODEL.OVS.TEMPLATES", "['a photo of a {}.']",
]  # fmt: skip
AMP = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bfloat16"]


@dataclass(frozen=True)
class Trial:
    """One thing to run.

    Attributes:
        name: shown.
        run: gives figures, or raises.
        missing: why it cannot be run here; "" if it can.
    """

    name: str
    run: Callable[[], Shown] = dict
    missing: str = ""


@dataclass(frozen=True)
class Part:
    """Trials that run in one process.

    Attributes:
        trials: device -> what is run there.
        share: of the time, relative to the other parts.
    """

    trials: Callable[[str], Iterator[Trial]]
    share: float


def parity(device: str) -> Iterator[Trial]:
    """The product against the reference vectors of a clone, in float32 without TF32."""
    root = SOURCE_ROOT.parent
    tool, data = root / "tools" / "check_parity.py", root / "tests" / "data"
    if not (tool.is_file() and data.is_dir()):
        yield Trial("reference vectors", missing="a clone of the repository has them, no wheel")
        return
    folders = [f for f in sorted(data.iterdir()) if f.name in project_names()]
    for folder in folders if on_gpu(device) else folders[-1:]:
        yield Trial(folder.name, partial(_parity_of, tool, folder, device))


def agreement(device: str) -> Iterator[Trial]:
    """Labels under bfloat16 autocast against those in float32, with the embedded CLIP."""
    for name in _tiny(lambda cfg: labels_pixels(cfg), device):
        yield Trial(name, partial(_agreement_of, name, device))


def trainings(device: str) -> Iterator[Trial]:
    """Steps of every small training in bfloat16."""
    for name in _tiny(learns, device):
        yield Trial(name, partial(train_steps, name, device, side=128, words=20, batch=2))


def shapes(device: str) -> Iterator[Trial]:
    """Steps of real networks with random weights: time and memory."""
    for name, side in _real(device):
        yield Trial(
            name,
            partial(
                train_steps, name, device, side=side, words=WORD_COUNT, batch=2, keys=UNTRAINED
            ),
        )


def throughput(device: str) -> Iterator[Trial]:
    """Pictures per second of real networks with random weights, in bfloat16."""
    batches = BATCHES if on_gpu(device) else BATCHES_ON_CPU
    for name, side in _real(device):
        for batch in batches:
            yield Trial(f"{name}, {batch} at once", partial(_speed_of, name, device, side, batch))


PARTS = {
    "parity": Part(parity, 3),
    "agreement": Part(agreement, 1),
    "trainings": Part(trainings, 1),
    "shapes": Part(shapes, 2),
    "throughput": Part(throughput, 2),
}


def on_gpu(device: str) -> bool:
    """Whether the whole of a check is meant."""
    return torch.device(device).type == "cuda"


def train_steps(
    name: str, device: str, *, side: int, words: int, batch: int, keys: Sequence[str] = ()
) -> Shown:
    """Train a config for a few steps on pictures of noise.

    Args:
        name: of the config.
        device: where.
        side: of the square pictures.
        words: number of classes.
        batch: pictures of a step.
        keys: KEY VALUE overrides.

    Returns:
        Seconds of a step behind the first, and the peak of memory in MiB.
    """
    cfg = load_cfg(find_config(name), [*AMP, *keys, "MODEL.DEVICE", device, "SEED", "0"])
    seed_everything(0)
    model = build_segmenter(cfg).train()
    model.begin_training()
    model.set_vocabulary(numbered_words(words))
    samples = [
        {**training_sample((side, side), words), "draw": k, "file_name": "noise"}
        for k in range(batch)
    ]
    step = TrainStep(cfg, model, repeat(samples), build_optimizer(cfg, model))
    seconds = []

    def run() -> None:
        for number in range(STEPS):
            _wait(device)
            start = time.perf_counter()
            step.iter = number
            with EventStorage(number):
                step.run_step()
            _wait(device)
            seconds.append(time.perf_counter() - start)

    peak = peak_memory(run)
    return {"s/step": round(min(seconds[1:]), 3), "peak MiB": round(peak / 2**20)}


def _tiny(wanted: Callable[[Any], bool], device: str) -> list[str]:
    found = [
        name
        for name in list_configs()
        if "tiny" in name and wanted(load_cfg(find_config(name), ["MODEL.DEVICE", "cpu"]))
    ]
    return found if on_gpu(device) else found[:1]


def _real(device: str) -> list[tuple[str, int]]:
    """Configs whose real shapes the projects name in ``REAL_SHAPES``; on a CPU a small one."""
    if not on_gpu(device):
        return [(_tiny(learns, device)[0], 128)]
    found: list[tuple[str, int]] = []
    for project in project_names():
        if (SOURCE_ROOT / project / "tables.py").is_file():
            module = importlib.import_module(f"{project}.tables")
            found += getattr(module, "REAL_SHAPES", {}).items()
    return found


def _parity_of(tool: Path, folder: Path, device: str) -> Shown:
    command = [sys.executable, str(tool), folder.name, str(folder), "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    bad = [line for line in said if line.startswith("FAIL ")]
    total = next((line for line in said if " files pass" in line), "")
    if done.returncode:
        names = ", ".join(Path(line.split(" ", 1)[1]).stem for line in bad)
        reason = names or (done.stderr.splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{total or 'nothing was compared'}: {reason}")
    return {"files": total.split(" files")[0]}


def _agreement_of(name: str, device: str) -> Shown:
    predictor = Predictor.from_config(name, device=device)
    same = []
    for seed in range(2):
        image = render_scene(seed, (192, 256)).image
        predictor.forget()
        whole = predictor(image, WORDS).labels
        predictor.forget()
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            same.append((predictor(image, WORDS).labels == whole).mean())
    share = float(np.mean(same))
    if share < AGREE and not predictor.notes:  # without trained weights labels are near ties
        raise RuntimeError(f"{share:.4f} of the labels agree, {AGREE} are needed")
    return {"same labels": round(share, 4)}


def _speed_of(name: str, device: str, side: int, batch: int) -> Shown:
    keys = ["MODEL.DEVICE", device, *(UNTRAINED if on_gpu(device) else [])]
    model = build_segmenter(load_cfg(find_config(name), keys))
    model.set_vocabulary(numbered_words(WORD_COUNT))
    shown = [{"image": smooth_picture(side, side)} for _ in range(batch)]
    seconds = []
    low = torch.autocast(torch.device(device).type, torch.bfloat16)
    with torch.no_grad(), low if on_gpu(device) else nullcontext():
        for _ in range(1 + STEPS):
            _wait(device)
            start = time.perf_counter()
            model(shown)
            _wait(device)
            seconds.append(time.perf_counter() - start)
    return {"pictures/s": round(batch / min(seconds[1:]), 2)}


def _wait(device: str) -> None:
    if on_gpu(device):
        torch.cuda.synchronize(device)
