"""Mapillary Vistas v1.2: used as it comes, so the only work is to see that it is complete."""

from __future__ import annotations

from pathlib import Path

from ..benchmarks import load_benchmarks
from .conversion import converted
from .jobs import Job, run_jobs
from .summary import Summary


def verify(root: Path, split: str, workers: int | None = None) -> Summary:
    """Pair pictures, labels and panoptic annotation, and sum up the labels; writes nothing.

    Args:
        root: folder of the datasets.
        split: ``train`` or ``val``.
        workers: see ``run_jobs``.

    Returns:
        The summary.
    """
    from ..registration import load_records

    benchmark = load_benchmarks()["mapillary_65_panoptic"]
    records = load_records(benchmark, split, benchmark.name, root=root)
    paths = [record["sem_seg_file_name"] for record in records]
    jobs = [Job(Path(path), converted, (path, ())) for path in paths]
    return run_jobs(jobs, title=f"{split} labels", recipe=None, workers=workers)
