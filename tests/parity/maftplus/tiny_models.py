"""The tiny models of the reference vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import open_clip
import timm
import torch
from open_clip.timm_model import TimmModel
from timm.layers import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from maftplus.fcclip import FCCLIP
from maftplus.mask_segmenter import MaskSegmenter, Tasks
from maftplus.model import MAFTPlus
from maftplus.transfer import ContentTransfer
from ovs_core.clip import CLIP, TextEmbedder, TextEncoder
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.modeling.mask2former import (
    MaskedAttentionDecoder,
    Matcher,
    PixelDecoder,
    SetCriterion,
)
from ovs_core.modeling.mask2former.point_sampling import Draw
from ovs_core.modeling.per_picture import uniform_of
from ovs_core.words.class_lists import load_templates
from ovs_core.words.vocabulary import Vocabulary

TEMPLATES = load_templates("vild_14")


def tiny_clip(config: dict, text: dict | None = None) -> CLIP:
    """Build the CLIP of a file's ``clip`` entry with untrained weights."""
    settings = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1}
    text_cfg = settings | (text or {})
    vision = {"layers": config.get("layers", [1, 1, 1, 1]), "width": config.get("width", 4)}
    vision |= {"image_size": config.get("image_size", 64)}
    vision |= {"head_width": config.get("head_width", 64)}
    model = open_clip.CLIP(config["embed"], vision, text_cfg)
    if config["kind"] == "convnext":
        model.visual = _convnext(config)
    model.eval().requires_grad_(False)
    return CLIP(model, _no_tokenizer, architecture="tiny", pretrained="reference file")


def _convnext(config: dict) -> TimmModel:
    visual = TimmModel("convnext_tiny", config["embed"], proj=config["proj"])
    dims, embed = config["dims"], config["embed"]
    visual.trunk = timm.create_model(
        "convnext_tiny", depths=config["depths"], dims=dims, num_classes=0
    )
    if config["proj"] == "mlp":
        visual.head.mlp = Mlp(dims[-1], 2 * embed, embed, bias=(True, False))
    else:
        visual.head.proj = nn.Linear(dims[-1], embed, bias=False)
    return visual


def _no_tokenizer(texts: list[str]) -> Tensor:
    raise NotImplementedError("the reference files hold encoded texts")


class RecordedTexts(TextEncoder):
    """Stands for the text tower: looks prompts up among recorded, un-normalised features."""

    def __init__(self, clip: CLIP, recorded: dict[str, np.ndarray | Tensor]) -> None:
        super().__init__(clip)
        self.recorded = recorded

    def encode(
        self, prompts: Sequence[str], *, batch_size: int = 256, progress: bool = True
    ) -> Tensor:
        """Give the unit vectors of the prompts."""
        rows = torch.stack([torch.as_tensor(self.recorded[p]) for p in prompts])
        return F.normalize(rows, dim=-1)


def recorded_texts(config: dict, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Prompt -> recorded feature of training and test words."""
    recorded: dict[str, np.ndarray] = {}
    for which in ("train", "test"):
        rows = inputs.get(f"text_raw_{which}", inputs.get(f"raw_{which}"))
        prompts = vocabulary(config[f"{which}_names"]).prompts(TEMPLATES)
        recorded |= dict(zip(prompts, rows, strict=True))
    return recorded


def vocabulary(names: Sequence[str], things: Sequence[int] = ()) -> Vocabulary:
    """Read published class strings: synonyms between commas; a blank behind a comma goes."""
    synonyms = [name.replace(", ", ",").split(",") for name in names]
    return Vocabulary.from_names(list(names), synonyms=synonyms, things=things)


def tiny_segmenter(
    method: str, config: dict, inputs: dict[str, np.ndarray], draw: Draw = uniform_of
) -> MaskSegmenter:
    """Build the model of a file's ``config``, with the training words set and random weights."""
    clip, head = tiny_clip(config["clip"]), config["head"]
    shared = {
        "clip": clip,
        "templates": TEMPLATES,
        "pixel_decoder": tiny_pixel_decoder(ConvEncoder(clip.visual).channels, head),
        "decoder": tiny_decoder(config["clip"]["embed"], head),
        "criterion": SetCriterion(
            Matcher(points=config["points"], draw=draw), points=config["points"], draw=draw
        ),
        "trained_words": vocabulary(config["train_names"], config["train_things"]),
        "tasks": Tasks(
            panoptic=config["panoptic"],
            instance=config["instance"],
            object_threshold=config["obj_thr"],
            overlap_threshold=config["ov_thr"],
            detections=config["topk"],
        ),
        "output": "scores",
    }
    model: MaskSegmenter
    if method == "fcclip":
        model = FCCLIP(
            alpha=config["alpha"],
            beta=config["beta"],
            ensemble_on_valid_mask=config["valid"],
            **shared,
        )
    else:
        model = MAFTPlus(
            transfer=tiny_transfer(config) if config.get("cdt", True) else None,
            tuned=config.get("tuned", True),
            compensation_weight=config.get("rc_weight", 0.1),
            build_teacher=lambda _: ConvEncoder(tiny_clip(config["clip"]).visual),
            **shared,
        )
    texts = RecordedTexts(clip, recorded_texts(config, inputs)) if inputs else model.text_encoder
    model.text_embedder = TextEmbedder(texts, folder="")
    model.set_vocabulary(model.trained_words)
    return model


def tiny_pixel_decoder(channels: dict[str, int], head: dict) -> PixelDecoder:
    """Build the pixel decoder of a file's sizes."""
    return PixelDecoder(
        channels,
        dim=head["conv_dim"],
        mask_dim=head["mask_dim"],
        layers=head["enc_layers"],
        heads=head["heads"],
        feedforward=head["ffn_enc"],
    )


def tiny_decoder(embed_dim: int, head: dict) -> MaskedAttentionDecoder:
    """Build the transformer decoder of a file's sizes."""
    return MaskedAttentionDecoder(
        embed_dim=embed_dim,
        input_dim=head["conv_dim"],
        dim=head["hidden"],
        mask_dim=head["mask_dim"],
        queries=head["queries"],
        layers=head["dec_layers"],
        heads=head["heads"],
        feedforward=head["ffn_dec"],
    )


def tiny_transfer(config: dict) -> ContentTransfer:
    """Build the transfer of a file's ``config``."""
    return ContentTransfer(
        config["clip"]["embed"],
        heads=config.get("cdt_heads", config.get("heads")),
        norm="branch" if config["panoptic"] else "post",
    )
