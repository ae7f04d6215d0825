"""Several methods on the same dataset: one table, and one sheet of pictures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from detectron2.config import CfgNode
from tabulate import tabulate

from ..data.build import build_mapper, dataset_dicts, dataset_metadata
from ..data.labels import load_labels
from ..draw import legend, overlay, palette, sheet
from ..engine.config import load_cfg
from ..engine.run import build_segmenter, run
from ..engine.train_once import train_once
from ..engine.trainer import set_test_words
from ..files.pictures import read_picture
from ..files.writing import atomic_write, save_picture, write_json
from ..methods.configs import find_config

METRICS = ("mIoU", "mIoU_S", "mIoU_U", "hIoU", "pACC")
TASKS = ("sem_seg", "panoptic_seg", "segm")  # of which no two name a metric alike


@dataclass(frozen=True)
class Entry:
    """One line of a comparison.

    Attributes:
        title: shown in the table and above the pictures; differs from the others' titles.
        config: short config name or YAML file.
        options: KEY VALUE overrides.
        trained: whether ``train_and_compare`` trains it first.
    """

    title: str
    config: str
    options: tuple[str, ...] = ()
    trained: bool = False


def compare(
    entries: Sequence[Entry],
    output: str | Path,
    *,
    samples: int = 6,
    metrics: Sequence[str] = METRICS,
) -> str:
    """Evaluate every entry, write ``table.md``, ``table.json`` and ``sheet.png``.

    Args:
        entries: what to compare; all must test on the same single dataset.
        output: folder; each entry's run goes into a folder of its own below it.
        samples: pictures on the sheet.
        metrics: columns of the table.

    Returns:
        The table as Markdown.
    """
    return _compare({entry.title: [entry] for entry in entries}, Path(output), samples, metrics)


def train_and_compare(
    entries: Sequence[Entry],
    output: str | Path,
    *,
    options: Sequence[str] = (),
    seeds: Sequence[int] = (),
    samples: int = 6,
    metrics: Sequence[str] = METRICS,
) -> str:
    """Train the entries that are to be trained, then compare all; prints a line per training.

    A training that is finished in ``output`` is not repeated, an unfinished one goes on.

    Args:
        entries: what to compare.
        output: folder; trainings go to ``train`` below it.
        options: KEY VALUE overrides of every training.
        seeds: each trained entry is trained once per seed, and the table has the mean and the
            standard deviation; empty for one training with the config's own seed.
        samples: pictures on the sheet, which shows the first seed.
        metrics: columns of the table.

    Returns:
        The table as Markdown.
    """
    output = Path(output)
    chosen: Sequence[int | None] = seeds or (None,)
    lines = {
        entry.title: [_train(entry, output / "train", seed, options) for seed in chosen]
        if entry.trained
        else [entry]
        for entry in entries
    }
    return _compare(lines, output, samples, metrics)


def comparison_parser(description: str, output: str) -> argparse.ArgumentParser:
    """Make the parser of a command that calls ``train_and_compare``.

    Args:
        description: the command's docstring.
        output: default folder.

    Returns:
        A parser of ``--output``, ``--seeds``, ``--samples`` and KEY VALUE ``options``; the command
        may add its own, and calls ``parse_intermixed_args``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(output), help=output)
    parser.add_argument("--seeds", type=_seeds, default=(), help="such as 0,1,2 (the config's own)")
    parser.add_argument("--samples", type=int, default=6, help="pictures on the sheet (6)")
    parser.add_argument("options", nargs="*", help="KEY VALUE overrides of training")
    return parser


def show_comparison(table: str, output: str | Path) -> None:
    """Print a table of the embedded world and where its files are."""
    output = Path(output)
    print(f"\nThe embedded world, validation set, 28 classes, 5 of them unseen:\n\n{table}\n")
    print("mIoU averages classes with ground truth; S and U are the seen and unseen classes of the")
    print("zero-shot split, averaged over classes with ground truth or prediction.\n")
    print(f"table     {output / 'table.md'}")
    print(f"pictures  {output / 'sheet.png'}")


def format_table(
    lines: Mapping[str, Sequence[Mapping[str, float]]], metrics: Sequence[str] = METRICS
) -> str:
    """Lay results out as a Markdown table; metrics that no line has are left out.

    Args:
        lines: title -> results of one or more runs, of which mean and deviation are shown.
        metrics: columns, in their order.
    """
    shown = [m for m in metrics if any(m in r for results in lines.values() for r in results)]
    rows = [[title, *(_cell(results, m) for m in shown)] for title, results in lines.items()]
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


def _compare(
    lines: Mapping[str, Sequence[Entry]], output: Path, samples: int, metrics: Sequence[str]
) -> str:
    """Evaluate the runs of every line and write table and pictures."""
    results = {title: [_evaluate(e, output) for e in entries] for title, entries in lines.items()}
    table = format_table(results, metrics)
    atomic_write(output / "table.md", table + "\n")
    write_json(output / "table.json", results)
    firsts = [replace(entries[0], title=title) for title, entries in lines.items()]
    save_picture(picture_sheet(firsts, output, samples), output / "sheet.png")
    return table


def _train(entry: Entry, folder: Path, seed: int | None, options: Sequence[str]) -> Entry:
    """Train an entry with a seed; gives the entry that evaluates the outcome."""
    title = entry.title if seed is None else f"{entry.title}, seed {seed}"
    seeded = () if seed is None else ("SEED", str(seed))
    settings = (*entry.options, *options, *seeded)
    weights, seconds = train_once(entry.config, folder / _slug(title), settings)
    print(f"{title}: {weights}" + (f", trained in {seconds:.0f} s" if seconds else ""), flush=True)
    return replace(entry, title=title, options=(*entry.options, "MODEL.WEIGHTS", str(weights)))


def _cell(results: Sequence[Mapping[str, float]], metric: str) -> str:
    values = [result[metric] for result in results if metric in result]
    if not values:
        return ""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers such as 0,1,2") from None


def _config(entry: Entry, output: Path) -> CfgNode:
    options = ["OUTPUT_DIR", str(_folder(entry, output)), *entry.options]
    return load_cfg(find_config(entry.config), options)


def _folder(entry: Entry, output: Path) -> Path:
    return output / _slug(entry.title)


def _slug(title: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in title.lower())


def _evaluate(entry: Entry, output: Path) -> dict[str, float]:
    options = ["OUTPUT_DIR", str(_folder(entry, output)), *entry.options]
    found = run(str(find_config(entry.config)), options, eval_only=True)
    return {name: value for task in TASKS for name, value in found.get(task, {}).items()}


def _predict(cfg: CfgNode, dataset: str, dicts: list[dict]) -> list[np.ndarray]:
    model = build_segmenter(cfg)
    set_test_words(cfg, model, dataset)
    mapper = build_mapper(cfg, is_train=False)
    return [model([mapper(d)])[0]["sem_seg_labels"].cpu().numpy() for d in dicts]
