"""From ``MODEL.SAN`` and ``MODEL.SIDE_ADAPTER`` to the parts of the model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from ovs_core.clip import CLIP, ImageEncoder
from ovs_core.errors import UserError
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.mask2former import QueryInit, build_criterion, whole_picture
from ovs_core.modeling.segmenter import SegmenterArguments

from .mask_decoder import MaskBiasDecoder
from .recognition import Recognition
from .side_adapter import AdapterViT, SideAdapter


def san_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``SAN``."""
    return san_on(segmenter_arguments(cfg), cfg)


def san_on(segmenter: SegmenterArguments, cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``SAN`` on a CLIP that is there.

    Args:
        segmenter: the CLIP and what else every segmenter has.
        cfg: finished config, of which ``MODEL.SAN`` and ``MODEL.SIDE_ADAPTER`` are read.
    """
    node, encoder = cfg.MODEL.SAN, ImageEncoder(segmenter["clip"].visual)
    return {
        **whole_picture(segmenter, node.SIZE_DIVISIBILITY),
        "side_adapter": build_side_adapter(cfg, encoder),
        "recognition": build_recognition(cfg, encoder),
        "criterion": build_criterion(node),
        "divisor": node.SIZE_DIVISIBILITY,
        "clip_resolution": node.CLIP_RESOLUTION if node.ASYMETRIC_INPUT else 1.0,
        "logits_first": node.SEM_SEG_POSTPROCESS_BEFORE_INFERENCE,
        "trained": node.CLIP_FROZEN_EXCLUDE,
        "trained_deeper": node.CLIP_DEEPER_FROZEN_EXCLUDE,
        "query_init": QueryInit(
            node.QUERY_INIT,
            "MODEL.SAN.QUERY_INIT",
            "NUM_QUERIES, WIDTH of MODEL.SIDE_ADAPTER",
            "`ovsuite analyse cliptrase` makes one",
        ),
    }


def build_side_adapter(cfg: CfgNode, encoder: ImageEncoder) -> SideAdapter:
    """Build the adapter of ``MODEL.SIDE_ADAPTER``.

    Raises:
        UserError: if numbers of blocks, levels or heads do not fit.
    """
    node, bias = cfg.MODEL.SIDE_ADAPTER, cfg.MODEL.SIDE_ADAPTER.ATTN_BIAS
    _check_adapter(node)
    _check_biases(cfg, encoder)
    vit = AdapterViT(
        width=node.WIDTH,
        heads=node.HEADS,
        depth=node.DEPTH,
        patch=node.PATCH,
        image_size=node.IMAGE_SIZE,
        drop_path=node.DROP_PATH_RATE,
    )
    decoder = MaskBiasDecoder(
        node.WIDTH,
        bias_heads=bias.NUM_HEADS,
        bias_layers=bias.NUM_LAYERS,
        channels=bias.EMBED_CHANNELS,
        hidden=bias.MLP_CHANNELS,
        layers=bias.MLP_NUM_LAYERS,
        rescale=bias.RESCALE_ATTN_BIAS,
    )
    return SideAdapter(
        vit,
        decoder,
        queries=node.NUM_QUERIES,
        clip_width=encoder.width,
        fusion=parse_fusion(
            node.FUSION_MAP, levels=cfg.MODEL.SAN.FEATURE_LAST_LAYER_IDX, blocks=node.DEPTH
        ),
        supervised=node.DEEP_SUPERVISION_IDXS,
    )


def build_recognition(cfg: CfgNode, encoder: ImageEncoder) -> Recognition:
    """Build the recognition of ``MODEL.SAN``."""
    node = cfg.MODEL.SAN
    return Recognition(
        encoder,
        split=node.FEATURE_LAST_LAYER_IDX,
        queries=cfg.MODEL.SIDE_ADAPTER.NUM_QUERIES,
        downsampling=node.REC_DOWNSAMPLE_METHOD,
        token_format=node.SOS_TOKEN_FORMAT,
        cross_attention=node.REC_CROSS_ATTN,
    )


def parse_fusion(stated: Sequence[str], *, levels: int, blocks: int) -> dict[int, int]:
    """Read ``FUSION_MAP``: entries "level of CLIP->block of the adapter".

    Args:
        stated: the entries.
        levels: highest level of CLIP.
        blocks: of the adapter.

    Returns:
        Block -> level; block 0 is before the first.

    Raises:
        UserError: names the entry.
    """
    fusion: dict[int, int] = {}
    for entry in stated:
        found = re.fullmatch(r"\s*(\d+)\s*->\s*(\d+)\s*", entry)
        level, block = (int(found[1]), int(found[2])) if found else (-1, -1)
        if not (0 <= level <= levels and 0 <= block <= blocks) or block in fusion:
            raise UserError(
                f"MODEL.SIDE_ADAPTER.FUSION_MAP: {entry!r} must be 'level->block' with a level of "
                f"0 to {levels} (MODEL.SAN.FEATURE_LAST_LAYER_IDX) and a block of 0 to {blocks}, "
                "each block once"
            )
        fusion[block] = level
    return fusion


def train_parts(clip: CLIP, split: int, early: Sequence[str], late: Sequence[str]) -> None:
    """Freeze a CLIP but for what is named.

    Args:
        clip: changed in place.
        split: blocks before the split.
        early: parts of names of parameters before the split; ``all`` for every one.
        late: likewise from the split on, with ``ln_post`` and ``proj``.

    Raises:
        UserError: for a part that no parameter has.
    """
    clip.requires_grad_(False)
    sides: dict[bool, list[tuple[str, nn.Parameter]]] = {False: [], True: []}
    for name, parameter in clip.visual.named_parameters():
        sides[_is_late(name, split)].append((name, parameter))
    keys = ("CLIP_FROZEN_EXCLUDE", "CLIP_DEEPER_FROZEN_EXCLUDE")
    for key, parts, side in zip(keys, (early, late), (False, True), strict=True):
        for part in parts:
            chosen = [p for name, p in sides[side] if part == "all" or part in name]
            if not chosen:
                raise UserError(
                    f"MODEL.SAN.{key}: {part!r} is part of the name of no parameter there, such as "
                    f"{', '.join(name for name, _ in sides[side][:3])}"
                )
            for parameter in chosen:
                parameter.requires_grad_(True)


def _is_late(name: str, split: int) -> bool:
    found = re.match(r"transformer\.resblocks\.(\d+)\.", name)
    return int(found[1]) >= split if found else name.startswith(("ln_post.", "proj"))


def _check_adapter(node: CfgNode) -> None:
    numbers = list(node.DEEP_SUPERVISION_IDXS)
    if numbers != sorted(set(numbers)) or numbers[-1] != node.DEPTH:
        raise UserError(
            f"MODEL.SIDE_ADAPTER.DEEP_SUPERVISION_IDXS: {numbers} must rise and end with the last "
            f"block, which is DEPTH, {node.DEPTH}"
        )
    for key, part in (("WIDTH", node.HEADS), ("IMAGE_SIZE", node.PATCH)):
        if node[key] % part:
            divisor = "HEADS" if key == "WIDTH" else "PATCH"
            raise UserError(
                f"MODEL.SIDE_ADAPTER.{key}: {node[key]} is no multiple of {divisor}, {part}"
            )


def _check_biases(cfg: CfgNode, encoder: ImageEncoder) -> None:
    bias, split = cfg.MODEL.SIDE_ADAPTER.ATTN_BIAS, cfg.MODEL.SAN.FEATURE_LAST_LAYER_IDX
    for problem in _bias_problems(encoder, bias, split):
        raise UserError(problem)


def _bias_problems(encoder: ImageEncoder, bias: CfgNode, split: int) -> Iterator[str]:
    blocks, heads = encoder.num_blocks, encoder.visual.transformer.resblocks[0].attn.num_heads
    if split >= blocks:
        yield (
            f"MODEL.SAN.FEATURE_LAST_LAYER_IDX: {split} leaves none of CLIP's {blocks} blocks for "
            f"recognition; set at most {blocks - 1}"
        )
    if bias.NUM_HEADS not in (1, heads):
        yield (
            f"MODEL.SIDE_ADAPTER.ATTN_BIAS.NUM_HEADS: {bias.NUM_HEADS} does not fit CLIP's {heads} "
            f"heads; set {heads}, or 1 for a bias that all heads share"
        )
    if bias.NUM_LAYERS not in (1, blocks - split):
        yield (
            f"MODEL.SIDE_ADAPTER.ATTN_BIAS.NUM_LAYERS: {bias.NUM_LAYERS} sets of biases fit "
            f"neither all nor each of the recognition blocks; set 1 or {blocks - split}"
        )
