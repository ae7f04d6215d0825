"""Building this package's parts from the published settings, and the vectors' tolerances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import open_clip
import torch
from detectron2.config import CfgNode
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from ovs_core.clip import CLIP, ImageEncoder, PositionRule
from ovs_core.modeling.losses import MaskLoss
from sptseg.build import build_decoder
from sptseg.config import add_sptseg_config
from sptseg.decoder import MaskDecoder
from sptseg.prompts import DoubledClassEmbedding, PromptedEncoder, VisualPrompts, build_filters
from sptseg.published import our_name, rename_published

from ..runner import (
    Arrays,
    ParityCase,
    Runner,
    Tolerance,
    largest_entry,
    parity_runner,
    stated,
)
from ..tolerances import is_exact

METHODS = ("sptseg", "zegclip")
REPEATED = {
    "drop_path_rate": "dropout is off in these files",
    "get_embeddings": "the product always gives the patches",
    "attn_drop": "dropout is off in these files",
    "stride": "training has no windows",
    "grid": "the arrays have it",
    "unused_parameters": "loading refuses a tensor of which it knows neither place nor uselessness",
    "method": "the kind says it",
}
LAYERS = "decode_head.decoder_1.layers."
LOSS_NAMES = {"loss_focal": "loss_mask", "loss_dice": "loss_dice", "loss_ssim": "loss_ssim"}

Results = dict[str, "Tensor | np.ndarray"]


def runner(
    *kinds: str, methods: tuple[str, ...] = METHODS, unused: Mapping[str, str] | None = None
) -> Callable[[Runner], Runner]:
    """Register a runner with the tolerances of the vectors' read-me."""

    def register(run: Runner) -> Runner:
        for method in methods:
            parity_runner(
                method, *kinds, tolerance=tolerance, unused={**REPEATED, **(unused or {})}
            )(run)
        return run

    return register


def tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Give the bound of one array."""
    if is_exact(references[name]):
        if not name.startswith("labels"):
            return Tolerance()
        return Tolerance(where=references[name.replace("labels", "margin")] > 1e-4)
    largest, figures = largest_entry(references[name]), stated(case)
    if case.kind == "train_step" and name.startswith(("grad/", "delta/")):
        return _step_tolerance(case, name, references, largest)
    floor = figures[1] if "max(" in case.meta["tolerance"] else 0.0
    return Tolerance(atol=figures[0] * max(floor, largest), insensitive=_small(name, largest))


def _small(name: str, largest: float) -> str:
    """Why a bound with a floor says little of an array of tiny figures."""
    tiny = largest <= 1e-6
    return "zero by symmetry: what is left is rounding" if tiny else ""


def _step_tolerance(case: ParityCase, name: str, references: Arrays, largest: float) -> Tolerance:
    everywhere = max(float(np.abs(v).max()) for k, v in references.items() if k[:5] == "grad/")
    if name.startswith("grad/"):
        of_max, of_all = stated(case)[2:]
        insensitive = _small(name, largest / max(everywhere, 1e-30))
        return Tolerance(atol=of_max * largest + of_all * everywhere, insensitive=insensitive)
    change, of_own, of_all = stated(case, "delta_tolerance")
    gradient = np.abs(references[name.replace("delta/", "grad/")])
    # Adam divides by the gradient's size: where that is noise, so is the step.
    clear = gradient > max(of_own * float(gradient.max()), of_all * everywhere)
    return Tolerance(atol=change * largest, where=clear)


def is_spectral(case: ParityCase) -> bool:
    """Whether the file belongs to SPT-SEG rather than to ZegCLIP."""
    return case.meta["method"] == "SPT-SEG"


class Holder(nn.Module):
    """Parts under the names that they have in the whole model."""

    def __init__(
        self,
        *,
        encoder: PromptedEncoder | None = None,
        decoder: MaskDecoder | None = None,
        clip: CLIP | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.clip = encoder, decoder, clip
        if encoder is not None and clip is None:
            self.clip = nn.Module()
            self.clip.model = nn.Module()
            self.clip.model.visual = encoder.encoder.visual


def load(holder: nn.Module, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load published weights and give copies of them in our names.

    Raises:
        ValueError: if a name is unknown, or a tensor of a part that the file describes is missing.
    """
    renamed = rename_published(published)
    if not any(p.endswith("deep_prompt_embeddings") for p in published):
        # Depth 0 leaves the norm out; the published class owns it all the same.
        renamed = {k: w for k, w in renamed.items() if not k.startswith("encoder.prompts.norm.")}
    state = holder.state_dict()
    unknown = sorted(set(renamed) - set(state))
    missing = sorted(
        k for k, p in holder.named_parameters() if p.requires_grad and k not in renamed
    )
    expected = (
        [] if "decoder.query.weight" in renamed else ["decoder.query.bias", "decoder.query.weight"]
    )
    empty = [k for k in missing if state[k].numel() == 0]
    if unknown or not set(missing) <= {*expected, *empty}:
        raise ValueError(f"unknown {unknown}, missing {missing}")
    holder.load_state_dict(renamed, strict=False)
    return {k: w.clone() for k, w in renamed.items()}


def gradients(holder: nn.Module, published: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Published name and gradient of every parameter that has one."""
    parameters = dict(holder.named_parameters())
    kept = rename_published(published)
    for name in published:
        parameter = parameters.get(our_name(name)) if our_name(name) in kept else None
        if parameter is not None and parameter.grad is not None:
            yield name, parameter.grad


def make_decoder(
    dim: int, *, spectral: bool, layers: int, feedforward: int, heads: int = 8
) -> MaskDecoder:
    """Build a decoder without dropout."""
    cfg = CfgNode({"MODEL": CfgNode()})
    add_sptseg_config(cfg)
    node = cfg.MODEL.SPTSEG
    node.DECODER.KIND = "spectral" if spectral else "cross"
    node.DECODER.LAYERS, node.DECODER.HEADS = layers, heads
    node.DECODER.FEEDFORWARD = feedforward / dim
    node.DECODER.DROPOUT = node.DECODER.ATTENTION_DROPOUT = 0.0
    return build_decoder(node, dim)


def make_tower(size: int, patch: int, width: int, layers: int, heads: int, dim: int) -> nn.Module:
    """Build a frozen image tower."""
    tower = VisionTransformer(
        size, patch, width, layers, heads, 4.0, output_dim=dim, act_layer=QuickGELU
    )
    return tower.requires_grad_(False).eval()


def make_clip(tower: nn.Module, dim: int, text: dict[str, int] | None = None) -> CLIP:
    """Put a text tower beside an image tower."""
    text = text or {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 1, "layers": 1}
    vision = {"image_size": 8, "patch_size": 8, "width": 64, "layers": 1}
    model = open_clip.CLIP(dim, vision, text, quick_gelu=True).requires_grad_(False).eval()
    model.visual = tower
    return CLIP(model, tokenizer=None, architecture="reference", pretrained="reference")


def make_encoder(
    tower: nn.Module, size: int, *, tokens: int, depth: int, spectral: bool
) -> PromptedEncoder:
    """Put prompts without dropout on a tower; the filter's grid is that of ``size`` pixels."""
    positions = DoubledClassEmbedding(tower, PositionRule(mode="bilinear"))
    encoder = ImageEncoder(tower, positions=positions)
    prompts = None
    if tokens:
        prompts = VisualPrompts(
            tokens=tokens,
            depth=depth,
            width=encoder.width,
            patch_size=encoder.patch_size,
            dropout=0.0,
        )
    filters = build_filters(
        [0, 1] if spectral else [],
        encoder.grid((size, size)),
        encoder.width,
        shared=True,
        std=0.02,
        train=True,
    )
    return PromptedEncoder(encoder, prompts, filters)


def make_loss(case: ParityCase) -> MaskLoss:
    """The file's losses: focal and SSIM, or focal and dice."""
    weights = case.config.get("loss", {"mask_weight": 100.0, "dice_weight": 1.0})
    second = "ssim" if is_spectral(case) else "dice"
    return MaskLoss(focal=weights["mask_weight"], **{"dice": 0.0, second: weights["dice_weight"]})


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, K, h, w) -> (B, K, H, W)."""
    return torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
