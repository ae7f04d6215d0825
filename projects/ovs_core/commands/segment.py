"""Label pictures, the pictures of folders, or the frames of videos with your words.

Each picture gives <name>_labels.png (index of the word per pixel), <name>_overlay.png and
<name>_segments.json. A run that was interrupted goes on where it stopped: the same line makes what
is missing or damaged, and anew what was made with another config, other weights or words, or from a
picture that has changed since. What goes wrong with a picture is one line, and the rest goes on.
--format writes the results of all pictures as annotations of the usual kinds, too.

With --shard several processes, on any machines that see the folder, share the pictures: shard 2/4
makes the second of every four. What they leave is what one process leaves, and --status counts it.
So do, in one line, the workers of --engine ray (pip install -e '.[ray]') on the cores and GPUs of
this machine, or with --ray-address on those of a Ray cluster whose machines see the folders.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from . import options, picture_options, ray_options, reporting
from .quick_start import paused_collection

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..files.addresses import Place
    from ..files.shards import Shard
    from ..predict.folder import Tally
    from ..predict.predictor import Predictor
    from ..predict.reading import Input
    from ..predict.result import Result
    from ..words.vocabulary import Vocabulary

ACTORS_END = 60.0  # seconds for those of a killed run to end
SUMMARY = "label pictures, folders or videos with your words"
EXAMPLES = (
    'ovsuite segment photo.jpg --words "car, tree, sky" --method cliptrase/tiny',
    "ovsuite segment pictures --words words.txt --method cliptrase/tiny --output results",
    'ovsuite segment clip.avi --every 5 --words "car, background: sky" --method cliptrase/tiny '
    "--output frames",
    'ovsuite segment photo.jpg --words "sofa|couch, wall" --method cliptrase/tiny '
    "--output sofas --format coco,panoptic,csv --opts MODEL.CLIPTRASE.IMAGE_SIZE 96",
    "ovsuite segment pictures --words words.txt --method cliptrase/tiny --output shared "
    "--shard 2/2",
    "ovsuite segment pictures --words words.txt --method cliptrase/tiny --output results --status",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    picture_options.add_inputs(parser, required=True)
    options.add_words(parser, required=True)
    options.add_model(parser, required=False)
    options.add_output(parser, "output/segment")
    picture_options.add_every(parser)
    parser.add_argument(
        "--format", type=options.comma_list, default=[], metavar="A,B",
        help="write annotations of all pictures, too: coco (RLE), polygons, panoptic, csv",
    )  # fmt: skip
    parser.add_argument(
        "--merge", action="store_true", help="add to annotation files that are there"
    )
    parser.add_argument(
        "--shard", metavar="N/COUNT",
        help="make this process's part of the pictures alone, 1/4 to 4/4; auto: as a SLURM array, "
        "torchrun or srun numbers the processes",
    )  # fmt: skip
    options.add_batch(parser)
    parser.add_argument(
        "--check-agreement", type=options.positive, metavar="N",
        help="first compare the labels of N pictures with those of eager float32, and stop if "
        "MODEL.OVS.RUNTIME changes more of them than it may",
    )  # fmt: skip
    parser.add_argument(
        "--status", action="store_true",
        help="only say how far the run of this line is and who is at work; exit code 0 if all is "
        "finished",
    )  # fmt: skip
    picture_options.add_rules(parser)
    picture_options.add_max_pixels(parser)
    options.add_overwrite(parser)
    options.add_json(parser)
    group = ray_options.add_engine(parser)
    group.add_argument(
        "--rows", action="store_true",
        help="write a Parquet file per block, with a row per picture and masks as RLE, in place of "
        "files per picture",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Segment, and say what became of each picture.

    Returns:
        0 if all pictures were segmented, else 1; 0 also in a process that torchrun or srun started,
        as these end all when one ends with 1.
    """
    with reporting.json_alone(args.json):
        code, report = _run(args)
    reporting.save_report(args.json, report)
    return code


def _run(args: Namespace) -> tuple[int, dict[str, object]]:
    """Do it all; gives the exit code and what ``--json`` tells."""
    picture_options.settle_max_pixels(args.max_pixels)
    shard = _find_shard(args)
    from ..words.vocabulary import Vocabulary

    vocabulary = Vocabulary.parse(args.words)  # mistakes show before anything is loaded
    files = picture_options.find_inputs(args)
    picture_options.settle_method(args)
    rules = picture_options.rules_of(args)
    typed = [
        text for key, value in rules.items() for text in (f"--{key.replace('_', '-')}", str(value))
    ]
    line = {"method": args.method, "weights": args.weights, "options": [*args.opts, *typed],
            "words": args.words}  # fmt: skip
    _check_engine(args)
    if args.rows:
        line |= {"rows of a block": args.block}
    if args.status:
        return _show_progress(args, files, shard, vocabulary, line)
    if args.merge and not args.format:
        raise UserError("--merge adds to annotation files; name them with --format")
    if args.format:
        from ..predict.annotation_files import check_annotations

        check_annotations(args.output, args.format, merge=args.merge)
    from ..predict.reading import count_inputs, frame_folders

    total = count_inputs(files, args.every)
    with paused_collection():
        from ..predict.folder import Tally
        from ..predict.run_file import open_output

        on_ray = args.engine == "ray"
        make = _on_ray(args, files, total) if on_ray else _here(args, files, total, shard)
    tally, started = Tally(), time.perf_counter()
    with open_output(
        args.output, vocabulary, line, overwrite=args.overwrite, shard=shard,
        below=frame_folders(files), patience=ACTORS_END if on_ray else 0.0,
    ) as folder:  # fmt: skip
        try:
            make(vocabulary, folder, tally)
        finally:  # also where Ctrl-C ends it
            for failed in tally.failed:
                print(f"error: {failed}", file=sys.stderr)
        if args.format and tally.finished and not tally.stopped:
            _annotate(args, files, folder, tally.finished)
    seconds = time.perf_counter() - started
    if tally.out_of_world:
        count = len(tally.out_of_world)
        print(f"{count} of {tally.done} pictures: {tally.out_of_world[0]}")
    part = f"shard {shard}: " if shard is not None else ""
    print(f"{part}{_summary(tally, seconds)}; results in {folder}")
    if tally.stopped:
        raise UserError(
            f"{tally.stopped}; stopped here, and what is finished is kept: make room, and give the "
            "same line again"
        )
    # A launcher would end the other shards, which can do their part all the same.
    code = 1 if tally.failed and not _is_launched(args) else 0
    return code, {
        "output": str(folder), "method": args.method, "segmented": tally.done,
        "skipped": tally.skipped, "failed": tally.failed, "finished": sorted(tally.finished),
        "out_of_world": len(tally.out_of_world), "seconds": round(seconds, 3),
    }  # fmt: skip


def _check_engine(args: Namespace) -> None:
    """Refuse options that the engine does not have."""
    if args.engine == "ray":
        if args.check_agreement:
            raise UserError("--check-agreement goes with --engine loop; measure there first")
        if args.shard is not None:
            raise UserError("--engine ray shares the pictures itself; leave --shard out")
        if args.rows and (args.format or args.status):
            raise UserError("--rows goes with neither --format nor --status; leave one out")
        return
    ray_options.refuse_without_ray(args, {"--rows": args.rows})


def _here(
    args: Namespace, files: list[Place], total: int | None, shard: Shard | None
) -> Callable[[Vocabulary, Path, Tally], object]:
    """Build the model, and give what makes the pictures in this process."""
    from ..predict.folder import segment_files
    from ..predict.predictor import Predictor
    from ..predict.reading import read_inputs

    predictor = Predictor.from_config(
        args.method, weights=args.weights, device=_device(args), options=args.opts,
        **picture_options.rules_of(args),
    )  # fmt: skip
    if args.check_agreement:
        _check_agreement(args, predictor, files)
    inputs = read_inputs(files, args.every)
    return lambda vocabulary, folder, tally: segment_files(
        predictor, vocabulary, inputs, folder, total=total, overwrite=args.overwrite, shard=shard,
        batch=args.batch, report=_report, tally=tally,
    )  # fmt: skip


def _check_agreement(args: Namespace, predictor: Predictor, files: list[Place]) -> None:
    from ..predict.agreement import own_agreement
    from ..predict.reading import read_inputs
    from ..words.vocabulary import Vocabulary

    inputs = read_inputs(files, args.every)
    words = Vocabulary.parse(args.words)
    agreement = own_agreement(predictor, words, inputs, args.check_agreement)
    print(agreement)
    agreement.check()


def _on_ray(
    args: Namespace, files: list[Place], total: int | None
) -> Callable[[Vocabulary, Path, Tally], object]:
    """Give what has the pictures made by Ray's actors."""
    from ..predict.ray_cluster import check_ray
    from ..predict.ray_engine import Work, segment_on_ray
    from ..predict.reading import name_files

    check_ray()
    resources = ray_options.resources_of(args)

    def make(vocabulary: Vocabulary, folder: Path, tally: Tally) -> None:
        work = Work(
            args.method, vocabulary, folder.resolve(), weights=args.weights, device=args.device,
            options=args.opts, rules=picture_options.rules_of(args), every=args.every,
            overwrite=args.overwrite, batch=args.batch, rows=args.rows,
        )  # fmt: skip
        segment_on_ray(
            work, name_files(files), resources, block=args.block, total=total, tally=tally
        )

    return make


def _find_shard(args: Namespace) -> Shard | None:
    if args.shard is None:
        return None
    if args.format:
        raise UserError(
            "--format needs the results of all shards; give the line again without --shard when "
            "they have ended: it takes what is finished"
        )
    if args.shard == "auto":
        from ..engine.place import find_shard

        return find_shard(os.environ)
    from ..files.shards import Shard

    return Shard.parse(args.shard)


def _is_launched(args: Namespace) -> bool:
    """Whether torchrun or srun started this process as one of several."""
    if args.shard != "auto":
        return False
    from ..engine.place import find_place

    return find_place(os.environ) is not None


def _device(args: Namespace) -> str:
    """The device of this process: of those that a launcher started on a machine, a GPU each."""
    if args.device != "auto" or not _is_launched(args):
        return str(args.device)
    from ..engine.place import own_device

    return own_device(os.environ)


def _show_progress(
    args: Namespace,
    files: list[Place],
    shard: Shard | None,
    vocabulary: Vocabulary,
    line: dict[str, object],
) -> tuple[int, dict[str, object]]:
    """Print how far a run is; gives the same as ``_run``."""
    from ..predict.progress import find_progress
    from ..predict.reading import read_inputs

    inputs = read_inputs(files, args.every)
    found = find_progress(
        inputs if shard is None else shard.take(inputs), Path(args.output), vocabulary, line
    )
    print(f"{found.finished} finished, {found.unfinished} unfinished, {found.to_do} to do")
    for holder in found.at_work:
        print(f"at work: {holder}")
    return int(found.unfinished + found.to_do > 0), {
        "finished": found.finished, "unfinished": found.unfinished, "to_do": found.to_do,
        "at_work": [str(holder) for holder in found.at_work],
    }  # fmt: skip


def _annotate(args: Namespace, files: list[Place], folder: Path, stems: list[str]) -> None:
    """Write the annotations of all finished pictures, from their results on disk."""
    from ..predict.annotation_files import save_annotations
    from ..predict.annotations import read_labelled
    from ..predict.parts import SavedResult

    labelled = (read_labelled(SavedResult(folder, stem)) for stem in sorted(stems))
    here = [file.resolve().parent for file in files if isinstance(file, Path)]
    root = os.path.commonpath(here) if here else ""
    written = save_annotations(
        labelled, folder, args.format, merge=args.merge, about={"method": args.method}, root=root
    )
    for path in written:
        print(f"annotations  {path}")


def _summary(tally: Tally, seconds: float) -> str:
    rate = f" ({tally.done / seconds:.2f} per second)" if tally.done > 1 else ""
    parts = [f"{tally.done} segmented in {seconds:.1f} s{rate}"]
    parts += [f"{count} of them anew for {reason}" for reason, count in tally.anew.items()]
    if tally.skipped:
        parts.append(f"{tally.skipped} finished earlier and skipped")
    if tally.failed:
        parts.append(f"{len(tally.failed)} failed")
    return ", ".join(parts)


def _report(one: Input, result: Result) -> None:
    from tqdm import tqdm

    from ..draw import percent

    largest = ", ".join(f"{s.name} {percent(s.share)}" for s in result.segments[:4])
    more = len(result.segments) - 4
    tqdm.write(f"{one.source}: {largest}{f' and {more} more' if more > 0 else ''}")
