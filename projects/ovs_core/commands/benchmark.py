"""Time a method against the bare forward of the network it stands on, in one run.

--of picture: one picture, stage by stage. --of folder: `ovsuite segment` on a folder against the
model alone. --of training: a training step. Rounds go on, up to four times as many as --repeats,
until the ratio's median is sure to 5 %, and the command says where it is not. --of runtimes: the
engines of MODEL.OVS.RUNTIME, and what the config leaves out for speed, against eager float32 that
leaves out nothing, with the share of labels that stay the same.
Random weights of the real shapes are used, unless a CLIP is named by KEY VALUE pairs
(MODEL.CLIP.PRETRAINED ViT-B-16.pt) or carried by the suite.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from . import options

if TYPE_CHECKING:
    from ..words.vocabulary import Vocabulary

SUMMARY = "time a method against the network it stands on"
EXAMPLES = (
    "ovsuite benchmark cliptrase/tiny --size 96x128 --words-count 20 --repeats 1 --threads 1",
    "ovsuite benchmark sptseg/tiny --of training --size 128x128 --repeats 1 --output step.json",
    "ovsuite benchmark cliptrase/tiny_clip --of folder --size 96x128 --samples 2 --repeats 1",
    "ovsuite benchmark cliptrase/tiny_clip --of runtimes --runtimes eager:bfloat16 --repeats 1 "
    "--pictures photo.jpg --words-count 20",
)
TEMPLATE = "['a photo of a {}.']"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_model(parser)
    parser.add_argument(
        "--of", choices=("picture", "folder", "training", "runtimes"), default="picture",
        help="what is timed",
    )  # fmt: skip
    options.add_size(parser, "512x683")
    parser.add_argument(
        "--words-count", type=options.positive, default=150, metavar="N",
        help="classes, of ADE20K-847 and numbered ones, where no --words are given",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", type=options.positive, default=5, metavar="N", help="counted rounds"
    )
    parser.add_argument(
        "--threads", type=options.positive, metavar="N", help="CPU threads; else torch's default"
    )
    options.add_output(parser)
    parser.add_argument(
        "--against", type=Path, metavar="FILE",
        help="picture: what an earlier run wrote; exit code 1 if the method has become slower, "
        "beyond the noise of both",
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=options.size, metavar="HxW", help="picture: label map; else as --size"
    )
    options.add_samples(parser, 20)
    options.add_words(parser)
    options.add_pictures(parser)
    parser.add_argument(
        "--runtimes", type=options.comma_list, metavar="A,B", default=["compile:float32"],
        help="runtimes: which ones, as ENGINE:DTYPE",
    )  # fmt: skip
    options.add_batch(parser)
    parser.add_argument(
        "--unlabelled", type=float, default=0.0, help="training: share of pixels without a label"
    )
    parser.add_argument(
        "--parts", type=lambda text: text.split(","), default=[], metavar="A,B",
        help="training: methods of the model whose shares are wanted",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Time, print, and maybe write JSON.

    Returns:
        0; 1 if the method is slower than ``--against`` says, beyond the noise.

    Raises:
        UserError: if ``--against`` cannot be compared with.
    """
    import torch

    from ..files.writing import write_json
    from ..reports.benchmark_noise import read_result

    if args.against and args.of != "picture":
        raise UserError(f"--against compares one picture's times, not those of --of {args.of}")
    old = read_result(args.against) if args.against else None
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.opts = [*_light(args), *args.opts]
    make = {"picture": _picture, "folder": _folder, "training": _training, "runtimes": _runtimes}
    result = make[args.of](args)
    result |= {"config": args.method, "words": len(_words(args)), "size": list(args.size),
               "threads": torch.get_num_threads()}  # fmt: skip
    if args.output:
        write_json(args.output, result)
        print(f"written to {args.output}")
    return 0 if old is None else _compare(result, old)


def _compare(result: dict[str, Any], old: dict[str, Any]) -> int:
    """Say how a result differs from an earlier one; 1 if it is slower beyond the noise."""
    from ..reports.benchmark_noise import slowdown

    change, noise = slowdown(result, old)
    slower = change > noise
    verdict = "slower" if slower else "no slowdown beyond the noise"
    print(f"against the earlier run: {100 * change:+.1f} % (noise {100 * noise:.1f} %): {verdict}")
    return int(slower)


def _light(args: Namespace) -> list[str]:
    """Overrides that need no download and encode each word once; a person's own come after."""
    from ..clip.architectures import EMBEDDED

    pairs = ["MODEL.OVS.TEMPLATES", TEMPLATE]
    if options.load_config_of(args).MODEL.CLIP.ARCHITECTURE not in EMBEDDED:
        pairs += ["MODEL.CLIP.PRETRAINED", "random"]
    if args.of == "training" and not args.weights:
        pairs += ["MODEL.WEIGHTS", ""]  # such as a backbone of ImageNet
    return pairs


def _words(args: Namespace) -> Vocabulary:
    from ..reports.benchmark_inputs import numbered_words
    from ..words.vocabulary import Vocabulary

    return Vocabulary.parse(args.words) if args.words else numbered_words(args.words_count)


def _picture(args: Namespace) -> dict[str, Any]:
    from tabulate import tabulate

    from ..modeling.segmenter import Segmenter
    from ..reports.benchmark import STAGES, benchmark
    from ..reports.benchmark_inputs import smooth_picture
    from ..reports.subjects import build_as

    model = build_as(options.load_config_of(args), Segmenter)
    model.set_vocabulary(_words(args))
    picture = smooth_picture(*args.size)
    result = benchmark(model, picture, args.labels or args.size, repeats=args.repeats)
    rows = [
        (stage, f"{1000 * result['seconds'][stage]:.1f}", "{:.1f} .. {:.1f}".format(
            *(1000 * s for s in result["spread"][stage])),
            f"{1000 * result['cpu_seconds'][stage]:.1f}")
        for stage in STAGES
    ]  # fmt: skip
    print(f"{result['method']} on {result['architecture']}, {result['device']}, "
          f"{result['threads']} threads, {result['words']} words")  # fmt: skip
    print(tabulate(rows, headers=("stage", "median ms", "min .. max", "processor ms")))
    low, high = result["ratio_spread"]
    print(f"ratio to bare: {result['ratio_to_bare_clip']:.3f} ({low:.3f} .. {high:.3f}); "
          f"of processor time: {result['ratio_cpu']:.3f}")  # fmt: skip
    print(_certainty(result))
    print(f"text embeddings, first use: {result['text_seconds']:.2f} s; "
          f"peak memory of a picture: {result['peak_memory_mib']:.0f} MiB")  # fmt: skip
    return result


def _certainty(result: dict[str, Any]) -> str:
    from ..reports.benchmark_noise import SURE

    error, rounds = result["error_cpu"], result["repeats"]
    if error <= SURE:
        return f"{rounds} rounds; the ratio of processor time is sure to {100 * error:.1f} %"
    return (
        f"this machine is too noisy, or --repeats too few: after {rounds} rounds the ratio of "
        f"processor time is sure to {100 * error:.0f} % only, not to {100 * SURE:.0f} %"
    )


def _folder(args: Namespace) -> dict[str, Any]:
    from tabulate import tabulate

    from ..predict.predictor import Predictor
    from ..reports.benchmark_folder import benchmark_folder

    predictor = Predictor.from_config(
        args.method, weights=args.weights, device=args.device, options=args.opts
    )
    words = _words(args)
    result = benchmark_folder(
        predictor, words, args.size, pictures=args.samples, repeats=args.repeats
    )
    rows = [
        (clock, *(f"{1000 * s:.1f}" for s in seconds), f"{result['ratio'][clock]:.3f}")
        for clock, seconds in result["seconds"].items()
    ]
    print(f"{args.method}, {args.samples} pictures of {'{} x {}'.format(*args.size)}, "
          f"{len(words)} words, ms per picture")  # fmt: skip
    print(tabulate(rows, headers=("clock", "bare model", "ovsuite segment", "ratio")))
    print(f"drawing one result of this size with all words: {1000 * result['drawing']:.0f} ms")
    return result


def _runtimes(args: Namespace) -> dict[str, Any]:
    from tabulate import tabulate

    from ..modeling.runtime_rule import RuntimeRule
    from ..modeling.segmenter import Segmenter
    from ..reports.benchmark_inputs import pictures_as_shown
    from ..reports.benchmark_runtimes import benchmark_runtime
    from ..reports.subjects import build_as

    cfg = options.load_config_of(args)
    like = RuntimeRule.from_config(cfg)
    rules = [RuntimeRule.parse(text, like) for text in args.runtimes]
    pictures = pictures_as_shown(cfg, args.pictures, args.size, args.samples)
    model = build_as(cfg, Segmenter)
    model.set_vocabulary(_words(args))
    found = [benchmark_runtime(model, cfg, rule, pictures, repeats=args.repeats) for rule in rules]
    rows = [
        (one["runtime"], f"{one['first_seconds']:.1f}", f"{1000 * one['eager_cpu']:.0f}",
         f"{1000 * one['cpu']:.0f}", f"{one['faster_cpu']:.2f} x", f"{one['faster_wall']:.2f} x",
         f"{one['agreement']:.3%}", f"{one['worst_agreement']:.3%}",
         "yes" if one["taken"] else "no")
        for one in found
    ]  # fmt: skip
    print(f"{args.method}, {len(pictures)} pictures, {len(model.vocabulary)} words; ms of the "
          "processor per picture, and how much faster than eager float32")  # fmt: skip
    headers = ("runtime", "first s", "eager ms", "ms", "processor", "wall", "equal labels",
               "worst", f">= {like.min_agreement:.1%}")  # fmt: skip
    print(tabulate(rows, headers=headers))
    return {"runtimes": found}


def _training(args: Namespace) -> dict[str, Any]:
    from ..engine.optimizer import build_optimizer
    from ..modeling.segmenter import Segmenter
    from ..reports.benchmark_inputs import training_sample
    from ..reports.benchmark_training import benchmark_training
    from ..reports.subjects import build_as

    cfg = options.load_config_of(args)
    model = build_as(cfg, Segmenter)
    model.train()
    model.set_vocabulary(_words(args))
    model.text_features()  # computed once per training run
    classes = len(model.vocabulary)
    batch = [training_sample(args.size, classes, args.unlabelled) for _ in range(args.batch)]
    optimizer = build_optimizer(cfg, model)
    result = benchmark_training(model, optimizer, batch, args.repeats, parts=args.parts)
    for name in ("bare", "step", "ratio"):
        print(f"{name:<6} wall {result[f'{name}_wall']:.3f}  cpu {result[f'{name}_cpu']:.3f}")
    print(f"operations of a step: {result['gflop']:.0f} GFLOP; it takes "
          f"{result['ratio_operations']:.2f} times as long as they would at the "
          f"{result['gflop_per_second']:.0f} GFLOP/s of a large product")  # fmt: skip
    for part, share in result["parts"].items():
        print(f"{100 * share:.1f} % of the step's processor time: {part}")
    print(f"peak memory of a step {result['peak_mib']:.0f} MiB, "
          f"of the process {result['peak_process_mib']:.0f} MiB")  # fmt: skip
    return result | {"batch": args.batch, "unlabelled": args.unlabelled}
