"""From ``MODEL.SPTSEG`` to the encoder and the decoder."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode

from ovs_core.clip import CLIP, ImageEncoder, PositionRule
from ovs_core.clip.positions import Positions
from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.losses import SSIM_INPUTS, MaskLoss
from ovs_core.modeling.pixel_statistics import PixelStatistics

from .decoder import INITS, CrossAttention, DecoderLayer, MaskDecoder, SpectralGuidedAttention
from .hilo import HighLowAttention
from .prompts import DoubledClassEmbedding, PromptedEncoder, VisualPrompts, build_filters

KEY = "MODEL.SPTSEG"
DECODERS = ("spectral", "cross")
STATISTICS = ("imagenet", "clip")


def sptseg_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``SPTSeg``.

    Raises:
        UserError: for an unknown value, or parts that do not fit together.
    """
    node, shared = cfg.MODEL.SPTSEG, segmenter_arguments(cfg)
    return {
        **shared,
        "encoder": build_encoder(node, shared["clip"]),
        "decoder": build_decoder(node, shared["clip"].embed_dim),
        "loss": build_loss(node.LOSS),
        "statistics": build_statistics(node, shared["clip"]),
        "mode": node.MODE,
        "crop": node.CROP,
        "seen_bias": node.SEEN_BIAS,
        "test_classes": node.TEST_CLASSES,
        "seen": node.SEEN,
        "unseen": node.UNSEEN,
        "empty_batch_negatives": node.LOSS.EMPTY_BATCH_NEGATIVES,
        "accuracy_period": node.LOSS.ACCURACY_PERIOD,
        "gate": node.DECODER.GATE,
    }


def build_encoder(node: CfgNode, clip: CLIP) -> PromptedEncoder:
    """Put the prompts of ``PROMPTS`` and ``SPECTRAL`` on a CLIP's image tower.

    Raises:
        UserError: if the crop is no multiple of the patch, or a layer does not exist.
    """
    positions: Positions = PositionRule(mode="bilinear")
    if node.CLASS_EMBEDDING_TWICE:
        positions = DoubledClassEmbedding(clip.visual, positions)
    tower = ImageEncoder(clip.visual, positions=positions)
    if any(node.CROP % side for side in tower.patch_size):
        raise UserError(
            f"{KEY}.CROP {node.CROP} is no multiple of the {tower.patch_size[0]}-pixel "
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
    check_choice(f"{KEY}.DECODER.KIND", decoder.KIND, DECODERS)
    check_choice(f"{KEY}.DECODER.INIT", decoder.INIT, INITS)
    if dim % decoder.HEADS:
        raise UserError(
            f"{KEY}.DECODER.HEADS {decoder.HEADS} does not divide the joint width {dim}"
        )

    def make_layer() -> DecoderLayer:
        attention = _cross(node, dim) if decoder.KIND == "cross" else _spectral(node, dim)
        return DecoderLayer(
            attention,
            dim=dim,
            feedforward=round(dim * decoder.FEEDFORWARD),
            dropout=decoder.DROPOUT,
        )

    if len(decoder.LOGITS) == 1:
        raise UserError(
            f"{KEY}.DECODER.LOGITS {decoder.LOGITS} must hold a scale and a bias, or nothing"
        )
    scale, bias = decoder.LOGITS or (1.0, None)
    return MaskDecoder(
        dim, make_layer, layers=decoder.LAYERS, init=decoder.INIT, scale=scale, bias=bias
    )


def build_loss(node: CfgNode) -> MaskLoss:
    """Build the loss of ``LOSS``.

    Raises:
        UserError: for an unknown ``SSIM_ON``.
    """
    check_choice(f"{KEY}.LOSS.SSIM_ON", node.SSIM_ON, SSIM_INPUTS)
    return MaskLoss(
        focal=node.FOCAL,
        dice=node.DICE,
        ssim=node.SSIM,
        alpha=node.FOCAL_ALPHA,
        gamma=node.FOCAL_GAMMA,
        ssim_on=node.SSIM_ON,
    )


def build_statistics(node: CfgNode, clip: CLIP) -> PixelStatistics:
    """Build the pixel statistics of ``PIXEL_STATISTICS``.

    Raises:
        UserError: for an unknown value.
    """
    check_choice(f"{KEY}.PIXEL_STATISTICS", node.PIXEL_STATISTICS, STATISTICS)
    if node.PIXEL_STATISTICS == "imagenet":
        return PixelStatistics()
    return PixelStatistics(clip.pixel_mean.flatten().tolist(), clip.pixel_std.flatten().tolist())


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
