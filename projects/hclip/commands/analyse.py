"""`ovsuite analyse`: parameters of each part; energy and orthogonality of every adapted matrix."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator

from detectron2.config import CfgNode
from tabulate import tabulate

from ovs_core.reports.subjects import build_as

from ..analysis import layer_reports
from ..counts import MEBI, count_pop, parameter_table
from ..model import CATSeg
from ..rotation import POPAdaptation

EXAMPLES = (
    "ovsuite analyse hclip/tiny",
    "ovsuite analyse output/hclip_tiny --energy",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add what this project measures."""
    parser.add_argument("--energy", action="store_true", help="energy and defect of every layer")


def run(cfg: CfgNode, args: Namespace) -> Iterator[str]:
    """Give one table after the other."""
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


def _energies(model: CATSeg) -> str:
    rows = [
        (r.tower, r.layer, r.matrix, r.energy_before, r.energy_after,
         100 * (r.energy_after / r.energy_before - 1), f"{r.defect:.1e}")
        for r in layer_reports(model)
    ]  # fmt: skip
    headers = ("tower", "layer", "matrix", "energy", "adapted", "change %", "defect")
    return str(tabulate(rows, headers=headers, floatfmt=("", "", "", ".1f", ".1f", ".3f", "")))
