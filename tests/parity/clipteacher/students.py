"""SegNeXt, and the heads of SegFormer and UPerNet, on reference vectors of mmsegmentation."""

from __future__ import annotations

import torch
from torch import Tensor

from clipteacher.students.hamburger import Factorisation, LightHamburgerHead
from clipteacher.students.heads import SegFormerHead, UPerHead
from clipteacher.students.mscan import MSCAN

from ..runner import ParityCase
from .parts import Results, runner


class _Given(Factorisation):
    """A factorisation whose start bases come from the file."""

    given: Tensor

    def draw_bases(self, points: Tensor) -> Tensor:
        return self.given


@runner("student_segnext")
def run_segnext(case: ParityCase) -> Results:
    """SegNeXt's encoder and head with given start bases."""
    config, x, out = case.config, case.tensors(), {}
    encoder = MSCAN(config["embed_dims"], config["depths"], ratios=config["mlp_ratios"])
    factorisation = _Given(
        config["md_r"], train_steps=config["train_steps"], eval_steps=config["eval_steps"]
    )
    case.require("config.ham_channels", config["channels"])
    head = LightHamburgerHead(
        [config["embed_dims"][stage] for stage in config["head_in"]],
        config["channels"],
        config["out_channels"],
        groups=config["group_norm_groups"],
        ham_channels=config["ham_channels"],
        factorisation=factorisation,
    )
    _load(encoder, case, "backbone.")
    _load(head, case, "decode_head.")
    for index in range(len(config["sizes"])):
        factorisation.given = x[f"bases{index}"]
        with torch.no_grad():
            maps = encoder(x[f"image{index}"])
            out |= {f"stage{stage}_{index}": one for stage, one in enumerate(maps, 1)}
            out[f"dense{index}"] = head(maps)
            factorisation.train()
            out[f"dense_train_steps{index}"] = head(maps)
            factorisation.eval()
    return out


@runner("student_heads")
def run_heads(case: ParityCase) -> Results:
    """SegFormer's and UPerNet's heads."""
    config, x = case.config, case.tensors()
    maps = [x[f"feature{index}"] for index in range(len(config["in_channels"]))]
    shape = (config["in_channels"], config["channels"], config["out_channels"])
    heads = {
        "segformer": SegFormerHead(*shape),
        "uper": UPerHead(*shape, pool_scales=config["pool_scales"]),
    }
    out: Results = {}
    for name, head in heads.items():
        _load(head, case, f"{name}.")
        with torch.no_grad():
            out[name] = head(maps)
    return out


def _load(module: torch.nn.Module, case: ParityCase, prefix: str) -> None:
    weights = case.tensors("weights")
    given = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    missing, unexpected = module.load_state_dict(given, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{prefix}: missing {missing}, unexpected {unexpected}")
    module.eval()
