"""From ``MODEL.CATSEG`` and ``MODEL.HCLIP`` to the parts of the model."""

from __future__ import annotations

from typing import Any, TypedDict

from detectron2.config import CfgNode
from torch import nn

from ovs_core.clip import CLIP, ImageEncoder
from ovs_core.errors import UserError
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.cost_aggregation import AggregationSettings, CostAggregation

from .adaptation import Adaptation
from .finetune import FinetuneSettings, adapt
from .pop import POPSettings


class Parts(TypedDict):
    """What is built on a CLIP, see ``CATSeg``."""

    adaptation: Adaptation
    upsample: nn.ModuleList
    decoder: CostAggregation


def catseg_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``CATSeg``."""
    node, segmenter = cfg.MODEL.CATSEG, segmenter_arguments(cfg)
    parts = build_parts(
        segmenter["clip"],
        finetune=finetune_settings(cfg),
        aggregation=aggregation_settings(cfg),
        prompts=len(segmenter["templates"]),
    )
    return {
        **segmenter,
        **parts,
        "image_size": node.IMAGE_SIZE,
        "guidance_layers": tuple(node.GUIDANCE_LAYERS),
        "size_divisor": node.SIZE_DIVISOR,
        "loss": node.LOSS,
        "seen_only": node.SEEN_ONLY,
        "checkpointing": node.GRADIENT_CHECKPOINTING,
        "last_block": node.LAST_BLOCK,
        "keep_words": node.KEEP_WORDS,
        "rate": node.RATES.get(node.FINETUNE.upper(), 1.0),  # freeze has none
    }


def hclip_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``HCLIP``.

    Raises:
        UserError: if the config asks for another adaptation than H-CLIP's.
    """
    if cfg.MODEL.CATSEG.FINETUNE != "hclip":
        raise UserError(
            f"MODEL.META_ARCHITECTURE HCLIP needs MODEL.CATSEG.FINETUNE hclip, not "
            f"{cfg.MODEL.CATSEG.FINETUNE}; for other ways to fine-tune use CATSeg"
        )
    return catseg_arguments(cfg)


def build_parts(
    clip: CLIP, *, finetune: FinetuneSettings, aggregation: AggregationSettings, prompts: int
) -> Parts:
    """Adapt a CLIP and build the decoder on it.

    Args:
        clip: a frozen CLIP with a ViT; changed by the adaptation.
        finetune: how it trains.
        aggregation: sizes of the decoder.
        prompts: number of templates P.
    """
    width = ImageEncoder(clip.visual).width
    adaptation = adapt(clip, finetune)
    upsample = nn.ModuleList(
        nn.ConvTranspose2d(width, dim, factor, stride=factor)
        for dim, factor in zip(aggregation.decoder_guidance_dims, (2, 4), strict=True)
    )
    decoder = CostAggregation(clip.embed_dim, prompts, aggregation)
    return {"adaptation": adaptation, "upsample": upsample, "decoder": decoder}


def finetune_settings(cfg: CfgNode) -> FinetuneSettings:
    """Read how CLIP is fine-tuned."""
    node, peft = cfg.MODEL.HCLIP, cfg.MODEL.CATSEG.PEFT
    pop = POPSettings(
        block_size=node.BLOCK_SIZE,
        form=node.FORM,
        orthogonal=node.ORTHOGONAL,
        dcrc=node.DCRC,
        pop=node.POP,
        nonlinear=node.DCRC_NONLINEAR,
        cayley_after=node.CAYLEY_AFTER_DCRC,
        alpha_init=node.ALPHA_INIT,
        cayley_sign=node.CAYLEY_SIGN,
        qkv_side=node.QKV_SIDE,
        out_side=node.OUT_PROJ_SIDE,
        pairing=node.DEPTH_PAIRING,
    )
    return FinetuneSettings(
        mode=cfg.MODEL.CATSEG.FINETUNE,
        pop=pop,
        lora_rank=peft.LORA_RANK,
        adapter_width=peft.ADAPTER_WIDTH,
        prompt_length=peft.PROMPT_LENGTH,
        prompt_depth=peft.PROMPT_DEPTH,
        lst_widths=tuple(peft.LST_WIDTHS),
    )


def aggregation_settings(cfg: CfgNode) -> AggregationSettings:
    """Read the sizes of the decoder."""
    node = cfg.MODEL.CATSEG
    return AggregationSettings(
        hidden_dim=node.HIDDEN_DIM,
        num_layers=node.NUM_LAYERS,
        num_heads=node.NUM_HEADS,
        window=node.WINDOW,
        pooling=tuple(node.POOLING_TRAIN),
        pooling_test=tuple(node.POOLING_TEST),
        attention=node.ATTENTION,
        max_classes=node.PAD_LEN,
        text_guidance_dim=node.TEXT_GUIDANCE_DIM,
        appearance_guidance_dim=node.APPEARANCE_GUIDANCE_DIM,
        decoder_dims=tuple(node.DECODER_DIMS),
        decoder_guidance_dims=tuple(node.GUIDANCE_DIMS),
        decoder_guidance_proj_dims=tuple(node.GUIDANCE_PROJ_DIMS),
        chunk=node.CLASS_CHUNK,
        checkpointing=node.GRADIENT_CHECKPOINTING,
    )
