#!/usr/bin/env python
"""Time segmenting a folder of pictures against the bare model, and the renderer alone.

Examples:
  python tools/benchmark_pictures.py cliptrase/vitb16 --size 512x683 --words 150
  python tools/benchmark_pictures.py cliptrase/tiny --pictures 8 --size 96x128 --words 20
The bare loop reads each picture and makes its labels, nothing else; `ovsuite segment` also draws
and writes the results, in threads beside the network. Random weights are used where CLIP's are not
on this disk. Seconds of the main thread say what a machine with a second core waits for; those of
all threads are what the work costs. Both are CPU time, which other programs change little.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from benchmark import _size as parse_size
from benchmark import smooth_picture, words
from PIL import Image
from tabulate import tabulate

from ovs_core.clip.loading import find_weights
from ovs_core.draw import render
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.files.pictures import find_pictures, read_picture
from ovs_core.methods.configs import find_config
from ovs_core.predict.folder import segment_files
from ovs_core.predict.predictor import Predictor
from ovs_core.predict.reading import read_inputs


def main() -> None:
    """Make pictures, time both loops in turns, print a table."""
    args = _parse()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    vocabulary = words(args.words)
    predictor = Predictor.from_config(args.method, device=args.device, options=_options(args))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(args.pictures):
            picture = smooth_picture(*args.size).byte().permute(1, 2, 0).numpy()
            Image.fromarray(picture).save(folder / f"{index:03d}.jpg", quality=92)
        paths = find_pictures(folder)
        _bare(predictor, vocabulary, paths[:2])  # warm up: text embeddings, memory
        counted = predictor.model.text_encoder.num_computed
        rounds = [
            (_clocked(_bare, predictor, vocabulary, paths),
             _clocked(_whole, predictor, vocabulary, paths, folder / f"out{r}"))
            for r in range(args.repeats)
        ]  # fmt: skip
    assert predictor.model.text_encoder.num_computed == counted, "a text was encoded twice"
    _print(rounds, args)
    print(f"drawing one result of this size and {args.words} names: {_drawing(args):.0f} ms")


def _bare(predictor: Predictor, vocabulary, paths: list[Path]) -> None:
    model = predictor.model
    model.set_vocabulary(vocabulary)
    with torch.no_grad():
        for path in paths:
            image = read_picture(path)
            encoded = model.encode_picture(predictor.tensor(image))
            model.postprocess(model.score_picture(encoded, image.shape[:2]))


def _whole(predictor: Predictor, vocabulary, paths: list[Path], folder: Path) -> None:
    predictor.forget()
    folder.mkdir()
    summary = segment_files(predictor, vocabulary, read_inputs(paths), folder, total=len(paths))
    if summary.done != len(paths):
        raise UserError(summary.failed[0])


def _clocked(function, *arguments) -> tuple[float, float, float]:
    """Seconds of the main thread, of all threads, and on the wall."""
    clocks = (time.thread_time, time.process_time, time.perf_counter)
    before = [clock() for clock in clocks]
    function(*arguments)
    return tuple(clock() - b for clock, b in zip(clocks, before, strict=True))


def _drawing(args: argparse.Namespace) -> float:
    """Median CPU milliseconds of `render` where all names occur, in the main thread."""
    height, width = args.size
    rows, columns = np.mgrid[:height, :width]
    side = max(1, round((height * width / (2 * args.words)) ** 0.5))
    labels = ((rows // side) * 31 + columns // side) % args.words
    image = np.stack([rows % 256, columns % 256, labels % 256], -1).astype(np.uint8)
    names = words(args.words).names
    times = [_clocked(render, image, labels, names)[0] for _ in range(9)]
    return 1000 * statistics.median(times)


def _options(args: argparse.Namespace) -> list[str]:
    clip = load_cfg(find_config(args.method)).MODEL.CLIP
    if find_weights(clip.ARCHITECTURE, clip.PRETRAINED, clip.CACHE_DIR or None):
        return args.options
    templates = ["MODEL.OVS.TEMPLATES", "['a photo of a {}.']"]
    return ["MODEL.CLIP.PRETRAINED", "random", *templates, *args.options]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", help="config")
    parser.add_argument("--pictures", type=int, default=20, help="how many (20)")
    parser.add_argument("--size", type=parse_size, default=(512, 683), help="HxW (512x683)")
    parser.add_argument("--words", type=int, default=150, help="how many (150)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    parser.add_argument("--threads", type=int, default=1, help="of the network (1)")
    parser.add_argument("--device", default="cpu", help="cpu")
    parser.add_argument("options", nargs="*", help="KEY VALUE config overrides")
    return parser.parse_intermixed_args()


def _print(rounds: list, args: argparse.Namespace) -> None:
    titles = ("main thread", "all threads", "wall clock")
    rows = []
    for place, title in enumerate(titles):
        bare, whole = ([r[which][place] / args.pictures for r in rounds] for which in (0, 1))
        ratio = statistics.median(w / b for b, w in zip(bare, whole, strict=True))
        medians = (1000 * statistics.median(times) for times in (bare, whole))
        rows.append((title, *medians, ratio))
    height, width = args.size
    print(f"{args.method}, {args.pictures} pictures of {height} x {width}, {args.words} words, "
          f"{args.threads} thread(s) of the network, ms per picture")  # fmt: skip
    headers = ("clock", "bare model", "ovsuite segment", "ratio")
    print(tabulate(rows, headers, floatfmt=("", ".1f", ".1f", ".3f")))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
