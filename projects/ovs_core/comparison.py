"""Several methods on the same dataset: one table, and one sheet of pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from tabulate import tabulate

from .configs import find_config
from .data.build import build_mapper, dataset_dicts, dataset_metadata
from .data.labels import load_labels
from .engine.config import load_cfg
from .engine.run import build_segmenter, run
from .engine.trainer import set_test_words
from .pictures import read_picture
from .visualizer import legend, overlay, palette, save_picture, sheet

METRICS = ("mIoU", "mIoU_S", "mIoU_U", "hIoU", "pACC")


@dataclass(frozen=True)
class Entry:
    """One line of a comparison.

    Attributes:
        title: shown in the table and above the pictures.
        config: short config name or YAML file.
        options: KEY VALUE overrides.
    """

    title: str
    config: str
    options: tuple[str, ...] = ()


def compare(entries: Sequence[Entry], output: str | Path, *, samples: int = 6) -> str:
    """Evaluate every entry, write ``table.md``, ``table.json`` and ``sheet.png``.

    Args:
        entries: what to compare; all must test on the same single dataset.
        output: folder; each entry's run goes into a folder of its own below it.
        samples: pictures on the sheet.

    Returns:
        The table as Markdown.
    """
    output = Path(output)
    results = [_evaluate(entry, output) for entry in entries]
    table = format_table(entries, results)
    output.mkdir(parents=True, exist_ok=True)
    (output / "table.md").write_text(table + "\n")
    named = {e.title: r for e, r in zip(entries, results, strict=True)}
    (output / "table.json").write_text(json.dumps(named, indent=2) + "\n")
    save_picture(picture_sheet(entries, output, samples), output / "sheet.png")
    return table


def format_table(entries: Sequence[Entry], results: Sequence[dict]) -> str:
    """Lay results out as a Markdown table; metrics that no entry has are left out."""
    shown = [m for m in METRICS if any(m in r for r in results)]
    rows = [
        [entry.title, *(f"{result[m]:.2f}" if m in result else "" for m in shown)]
        for entry, result in zip(entries, results, strict=True)
    ]
    return tabulate(rows, headers=("method", *shown), tablefmt="github", disable_numparse=True)


def picture_sheet(entries: Sequence[Entry], output: Path, samples: int) -> np.ndarray:
    """Draw picture, truth and every entry's labels for evenly spaced test pictures."""
    configs = [_config(entry, output) for entry in entries]
    (dataset,) = set(cfg.DATASETS.TEST[0] for cfg in configs)
    names = dataset_metadata(dataset).stuff_classes
    colors = palette(names)
    dicts = dataset_dicts([dataset])
    chosen = [dicts[i] for i in np.linspace(0, len(dicts) - 1, samples).astype(int)]
    images = [read_picture(d["file_name"]) for d in chosen]
    truths = [load_labels(d) for d in chosen]
    columns = [images, [overlay(i, t, colors) for i, t in zip(images, truths, strict=True)]]
    for cfg in configs:
        predicted = _predict(cfg, dataset, chosen)
        columns.append([overlay(i, p, colors) for i, p in zip(images, predicted, strict=True)])
    titles = ["picture", "truth", *(entry.title for entry in entries)]
    grid = sheet(list(zip(*columns, strict=True)), titles)
    return np.vstack([grid, legend(names, colors, grid.shape[1])])


def _config(entry: Entry, output: Path) -> CfgNode:
    options = ["OUTPUT_DIR", str(_folder(entry, output)), *entry.options]
    return load_cfg(find_config(entry.config), options)


def _folder(entry: Entry, output: Path) -> Path:
    return output / "".join(c if c.isalnum() else "_" for c in entry.title.lower())


def _evaluate(entry: Entry, output: Path) -> dict[str, float]:
    options = ["OUTPUT_DIR", str(_folder(entry, output)), *entry.options]
    return dict(run(str(find_config(entry.config)), options, eval_only=True)["sem_seg"])


def _predict(cfg: CfgNode, dataset: str, dicts: list[dict]) -> list[np.ndarray]:
    model = build_segmenter(cfg)
    set_test_words(cfg, model, dataset)
    mapper = build_mapper(cfg, is_train=False)
    return [model([mapper(d)])[0]["sem_seg_labels"].cpu().numpy() for d in dicts]
