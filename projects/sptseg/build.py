"""From ``MODEL.SPTSEG`` to the encoder and the decoder."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.clip import CLIP, ImageEncoder, PositionRule
from ovs_core.errors import UserError, nearest

from .decoder import CrossAttention, DecoderLayer, MaskDecoder, SpectralGuidedAttention
from .hilo import HighLowAttention
from .prompts import DoubledClassEmbedding, PromptedEncoder, VisualPrompts, build_filters

DECODERS = ("spectral", "cross")
INITS = ("default", "trunc_normal")


def build_encoder(node: CfgNode, clip: CLIP) -> PromptedEncoder:
    """Put the prompts of ``PROMPTS`` and ``SPECTRAL`` on a CLIP's image tower.

    Raises:
        UserError: if the crop is no multiple of the patch, or a layer does not exist.
    """
    positions = PositionRule(mode="bilinear")
    if node.CLASS_EMBEDDING_TWICE:
        positions = DoubledClassEmbedding(clip.visual, positions)
    tower = ImageEncoder(clip.visual, positions=positions)
    if any(node.CROP % side for side in tower.patch_size):
        raise UserError(
            f"MODEL.SPTSEG.CROP {node.CROP} is no multiple of the {tower.patch_size[0]}-pixel "
            "patches of this CLIP"
        )
    prompts = None
    if node.PROMPTS.TOKENS:
        prompts = VisualPrompts(
            tokens=node.PROMPTS.TOKENS,
            depth=node.PROMPTS.DEPTH,
            width=tower.width,
            patch_size=tower.patch_size,
            dropout=node.PROMPTS.DROPOUT,
        )
    spectral = node.SPECTRAL
    filters = build_filters(
        spectral.LAYERS,
        tower.grid((node.CROP, node.CROP)),
        tower.width,
        shared=spectral.SHARED_FILTER,
        std=spectral.INIT_STD,
        train=spectral.TRAIN,
    )
    return PromptedEncoder(tower, prompts, filters)


def build_decoder(node: CfgNode, dim: int) -> MaskDecoder:
    """Build the decoder of ``DECODER`` (and ``HILO``) for joint width ``dim``.

    Raises:
        UserError: for an unknown kind, or heads that do not divide the width.
    """
    decoder = node.DECODER
    for key, choices in (("KIND", DECODERS), ("INIT", INITS)):
        if decoder[key] not in choices:
            raise UserError(
                f"MODEL.SPTSEG.DECODER.{key}: '{decoder[key]}' is none of {', '.join(choices)}."
                f"{nearest(decoder[key], choices)}"
            )
    if decoder.LAYERS < 1 or dim % decoder.HEADS:
        raise UserError(
            f"MODEL.SPTSEG.DECODER: LAYERS {decoder.LAYERS} must be positive, and HEADS "
            f"{decoder.HEADS} divide the joint width {dim}"
        )

    def make_layer() -> DecoderLayer:
        attention = _cross(node, dim) if decoder.KIND == "cross" else _spectral(node, dim)
        return DecoderLayer(
            attention,
            dim=dim,
            feedforward=round(dim * decoder.FEEDFORWARD),
            dropout=decoder.DROPOUT,
        )

    return MaskDecoder(dim, make_layer, layers=decoder.LAYERS, init=decoder.INIT)


def _cross(node: CfgNode, dim: int) -> CrossAttention:
    decoder = node.DECODER
    return CrossAttention(dim, heads=decoder.HEADS, dropout=decoder.ATTENTION_DROPOUT)


def _spectral(node: CfgNode, dim: int) -> SpectralGuidedAttention:
    hilo = node.HILO
    mixer = HighLowAttention(
        dim,
        heads=hilo.HEADS,
        alpha=hilo.ALPHA,
        window=hilo.WINDOW,
        high_projection=hilo.HIGH_PROJECTION,
        alpha_is_high=hilo.ALPHA_IS_HIGH,
    )
    return SpectralGuidedAttention(dim, mixer=mixer, dropout=node.DECODER.ATTENTION_DROPOUT)
