"""`ovsuite merge` for FINETUNE hclip, oft, lora, ssf, attention and full."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from detectron2.config import CfgNode

from ovs_core.errors import UserError
from ovs_core.reports.subjects import build_as

from ..merge import check_target, merge
from ..model import CATSeg

EXAMPLES = (
    "ovsuite merge output/hclip_tiny --output merged.safetensors",
    "ovsuite merge hclip/tiny --weights output/hclip_tiny/model_final.pth --output c.safetensors",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing to the options that all methods share."""


def run(cfg: CfgNode, args: Namespace) -> Iterator[str]:
    """Merge, and say what was written."""
    check_target(args.output)  # before the model is built
    if not cfg.MODEL.WEIGHTS:
        raise UserError(f"{args.method}: nothing is learned yet; give --weights or a training")
    merge(build_as(cfg, CATSeg), args.output)
    yield f"wrote {args.output} ({args.output.stat().st_size / 2**20:.1f} MiB)"
