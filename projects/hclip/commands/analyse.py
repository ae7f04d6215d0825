"""`ovsuite analyse`: parameters of each part; energy and orthogonality of every adapted matrix.

--curve follows the energy over the checkpoints of a training.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

from detectron2.config import CfgNode
from tabulate import tabulate

from ovs_core.commands import options
from ovs_core.engine.checkpoint import OVSCheckpointer
from ovs_core.files.writing import write_json
from ovs_core.reports.subjects import build_as

from ..analysis import layer_reports
from ..counts import MEBI, count_pop, parameter_table
from ..energy_curve import draw_curve, energy_curve, steps_of
from ..model import CATSeg
from ..rotation import POPAdaptation

EXAMPLES = (
    "ovsuite analyse hclip/tiny",
    "ovsuite analyse output/hclip_tiny --energy",
    "ovsuite analyse output/hclip_tiny --curve",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add what this project measures."""
    parser.add_argument("--energy", action="store_true", help="energy and defect of every layer")
    parser.add_argument(
        "--curve", action="store_true", help="energy over the checkpoints of OUTPUT_DIR"
    )
    options.add_output(parser)


def run(cfg: CfgNode, args: Namespace) -> Iterator[str]:
    """Give one table after the other."""
    if args.curve:
        if Path(args.method).is_dir():  # wherever the training lies now
            cfg.OUTPUT_DIR = str(args.method)
        yield from _curve(cfg, args.output or Path(cfg.OUTPUT_DIR) / "energy.json")
        return
    model = build_as(cfg, CATSeg)
    yield _counts("part", parameter_table(model))
    if isinstance(model.adaptation, POPAdaptation):
        yield "\n" + _counts("adaptation", vars(count_pop(model.adaptation.pop)).items())
    if args.energy:
        yield "\n" + _energies(model)


def _counts(title: str, counts: Iterable[tuple[str, float]]) -> str:
    rows = [(name, f"{count:,.0f}", f"{count / MEBI:.2f}") for name, count in counts]
    headers = (title, "parameters", "in 2^20")
    return str(tabulate(rows, headers=headers, colalign=("left", "right", "right")))


def _curve(cfg: CfgNode, output: Path) -> Iterator[str]:
    points = energy_curve(_trained(cfg))
    write_json(output, [vars(point) for point in points])
    draw_curve(points, output.with_suffix(".png"))
    rows = [(p.steps, p.tower, p.mean, p.least, p.most) for p in points]
    headers = ("steps", "tower", "mean change %", "least", "most")
    yield str(tabulate(rows, headers=headers, floatfmt=("", "", ".4f", ".4f", ".4f")))
    yield f"{output} and {output.with_suffix('.png')}"


def _trained(cfg: CfgNode) -> Iterator[tuple[int, CATSeg]]:
    """Give one model with the weights of each checkpoint of ``OUTPUT_DIR`` in turn."""
    files = steps_of(cfg.OUTPUT_DIR, cfg.SOLVER.MAX_ITER)
    cfg.MODEL.WEIGHTS = str(next(iter(files.values())))
    model = build_as(cfg, CATSeg)
    for steps, path in files.items():
        OVSCheckpointer(model).load(str(path))
        yield steps, model.eval()


def _energies(model: CATSeg) -> str:
    rows = [
        (r.tower, r.layer, r.matrix, r.energy_before, r.energy_after,
         100 * (r.energy_after / r.energy_before - 1), f"{r.defect:.1e}")
        for r in layer_reports(model)
    ]  # fmt: skip
    headers = ("tower", "layer", "matrix", "energy", "adapted", "change %", "defect")
    return str(tabulate(rows, headers=headers, floatfmt=("", "", "", ".1f", ".1f", ".3f", "")))
