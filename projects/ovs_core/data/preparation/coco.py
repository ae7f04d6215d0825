"""COCO: the 171 classes of COCO-Stuff, and semantic maps of the panoptic annotation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import UserError
from ...words.class_lists import load_class_list
from ..benchmarks import find_images, load_benchmarks, locate
from ..panoptic_png import read_panoptic_png
from ..sources import files_by_key
from .conversion import convert_folder, first_existing
from .jobs import Job, run_jobs
from .summary import Summary

RAW_STUFF = ("coco-stuff/annotations/{}", "coco/stuffthingmaps/{}", "coco_stuff164k/annotations/{}")


def prepare_stuff(
    root: Path, split: str, *, raw: Path | None = None, workers: int | None = None
) -> Summary:
    """Write the 171-class maps beside the pictures of the layout that is on disk.

    Args:
        root: folder of the datasets.
        split: ``train`` or ``val``.
        raw: folder that holds ``train2017`` and ``val2017`` of stuffthingmaps; found if None.
        workers: see ``run_jobs``.

    Returns:
        The summary.
    """
    word = f"{split}2017"
    _, source = find_images(load_benchmarks()["coco_stuff_171"], split, root)
    options = [raw / word] if raw else [root / place.format(word) for place in RAW_STUFF]
    folder = first_existing(options, "the raw label maps (stuffthingmaps)")
    keys = list(files_by_key(source.images, source.image_suffix))
    return convert_folder(
        folder,
        source.path_of("labels"),
        rules=("coco_stuff",),
        title=f"{word} labels",
        keys=keys,
        workers=workers,
    )


def semantic_from_panoptic(
    path: str, segments: tuple[tuple[int, int], ...], ignore: int
) -> np.ndarray:
    """Turn a panoptic PNG into class indices.

    Args:
        path: the PNG.
        segments: (segment id, class index) of each segment.
        ignore: value of void pixels.

    Returns:
        (H, W) uint8.

    Raises:
        UserError: if the PNG holds a segment that the JSON does not, or the reverse.
    """
    ids = read_panoptic_png(path)
    values, inverse = np.unique(ids, return_inverse=True)
    of_segment = dict(segments)
    odd = (set(values.tolist()) - {0}) ^ of_segment.keys()
    if odd:
        raise UserError(f"{path}: PNG and JSON disagree on segment {min(odd)}")
    table = np.array([of_segment.get(int(value), ignore) for value in values], dtype=np.uint8)
    return table[inverse].reshape(ids.shape)


def prepare_panoptic_semantics(root: Path, split: str, workers: int | None = None) -> Summary:
    """Write ``panoptic_semseg_*`` (index 0..132, void 255) beside the panoptic annotation."""
    from ..registration import load_records

    benchmark = load_benchmarks()["coco_133_panoptic"]
    target = locate(benchmark, split, root)[0].path_of("labels")
    ignore = load_class_list(benchmark.classes).ignore_label
    jobs = []
    for record in load_records(benchmark, split, benchmark.name, root=root, labels=False):
        path = Path(record["pan_seg_file_name"])
        segments = tuple((s["id"], s["category_id"]) for s in record["segments_info"])
        jobs.append(Job(target / path.name, semantic_from_panoptic, (str(path), segments, ignore)))
    return run_jobs(jobs, title=f"{split} labels", recipe="coco panoptic to 133", workers=workers)
