"""Timing a method against the bare forward of the network it stands on, in one run.

Reported apart: ``bare`` (the floor: the network's forward, by default CLIP's, on exactly the
tensors that the method encodes), ``model`` (everything that depends on the picture), ``scoring``
(words against features), ``labels`` (label map at the original size) and ``end_to_end``. Floor and
method take turns, so that a drift of the machine's speed hits both.
"""

from __future__ import annotations

import ctypes
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..modeling.segmenter import Segmenter
from .benchmark_noise import SURE, median_error
from .clocks import timed

MORE = 4  # times as many rounds as asked for, at most
STAGES = ("bare", "model", "scoring", "labels", "end_to_end")


def benchmark(
    model: Segmenter,
    picture: Tensor,
    size: tuple[int, int],
    *,
    repeats: int = 7,
    warmup: int = 2,
    floor: Callable[[Tensor], Any] | None = None,
) -> dict[str, Any]:
    """Time a segmenter on one picture with its current words.

    Args:
        model: in eval mode, words set.
        picture: (3, H', W') RGB in 0..255 as the test mapper gives it.
        size: (H, W) of the label map.
        repeats: counted rounds; up to ``MORE`` times as many until their median is sure.
        warmup: rounds before them; text embeddings are computed there.
        floor: what ``bare`` runs on each tensor; default the network that the method stands on.

    Returns:
        ``seconds`` stage -> median; ``spread`` stage -> [min, max]; ``cpu_seconds`` stage -> median
        processor time, which other programs of the machine disturb little; ``ratio_to_bare_clip``
        and ``ratio_cpu`` (end to end over bare, medians of the rounds' ratios of wall and processor
        time); ``ratios_cpu`` of all rounds and ``error_cpu``, see ``median_error``;
        ``text_seconds`` of the first use of the words; ``peak_memory_mib`` above what was in use
        before the measured end-to-end call; and what was run.
    """
    text_seconds = _time_text(model)
    inputs = model.encoder_inputs(picture)
    rounds: list[tuple[dict[str, float], dict[str, float]]] = []
    with torch.inference_mode():
        for _ in range(warmup):
            _one_round(model, picture, size, inputs, floor or model.bare_forward)
        while len(rounds) < repeats or (len(rounds) < MORE * repeats and not _is_sure(rounds)):
            rounds.append(_one_round(model, picture, size, inputs, floor or model.bare_forward))
    wall, cpu = [w for w, _ in rounds], [c for _, c in rounds]
    ratios_cpu = [r["end_to_end"] / r["bare"] for r in cpu]
    ratios = [r["end_to_end"] / r["bare"] for r in wall]
    return {
        "method": type(model).__name__,
        "architecture": model.clip.architecture,
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "picture": list(picture.shape[-2:]),
        "label_map": list(size),
        "encoded": [list(t.shape) for t in inputs],
        "words": len(model.vocabulary),
        "repeats": len(rounds),
        "seconds": {s: statistics.median(r[s] for r in wall) for s in STAGES},
        "spread": {s: [min(r[s] for r in wall), max(r[s] for r in wall)] for s in STAGES},
        "cpu_seconds": {s: statistics.median(r[s] for r in cpu) for s in STAGES},
        "ratio_to_bare_clip": statistics.median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
        "ratio_cpu": statistics.median(ratios_cpu),
        "ratios_cpu": ratios_cpu,
        "error_cpu": median_error(ratios_cpu),
        "text_seconds": text_seconds,
        "peak_memory_mib": peak_memory(lambda: _run(model, picture, size)) / 2**20,
    }


def peak_memory(call: Callable[[], Any]) -> float:
    """Bytes in use at the worst moment of ``call`` above what was in use before it.

    On a GPU the allocator's count; on the CPU the resident set of the process, after the allocator
    gave back what it had kept, as far as it can.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        call()
        return float(torch.cuda.max_memory_allocated() - allocated)
    _give_back_memory()
    resident = _reset_resident_peak()
    call()
    return max(0.0, _resident("VmHWM") - resident)


def _is_sure(rounds: list[tuple[dict[str, float], dict[str, float]]]) -> bool:
    return median_error([cpu["end_to_end"] / cpu["bare"] for _, cpu in rounds]) <= SURE


def _run(model: Segmenter, picture: Tensor, size: tuple[int, int]) -> Any:
    with torch.inference_mode():
        return model.postprocess(model.segment(picture, size))


def _one_round(
    model: Segmenter,
    picture: Tensor,
    size: tuple[int, int],
    inputs: list[Tensor],
    floor: Callable[[Tensor], Any],
) -> tuple[dict[str, float], dict[str, float]]:
    """Wall and processor seconds of every stage."""
    bare, _ = timed(model.device, lambda: [floor(t) for t in inputs])
    end_to_end, _ = timed(model.device, lambda: model.postprocess(model.segment(picture, size)))
    encode, encoded = timed(model.device, lambda: model.encode_picture(picture))
    score, scores = timed(model.device, lambda: model.score_picture(encoded, size))
    labels, _ = timed(model.device, lambda: model.postprocess(scores))
    times = (bare, encode, score, labels, end_to_end)
    wall, cpu = zip(*times, strict=True)
    return dict(zip(STAGES, wall, strict=True)), dict(zip(STAGES, cpu, strict=True))


def _time_text(model: Segmenter) -> float:
    start = time.perf_counter()
    if model.text_embedder is not None:
        model.text_features()
    return time.perf_counter() - start


def _give_back_memory() -> None:
    """Let the C library give unused memory back, so that its use anew is seen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc's; others keep less
        trim(0)


def _reset_resident_peak() -> float:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak of the whole process is all there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return _resident("VmRSS")


def _resident(field: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
