"""The students of the paper's tables, ConvNeXt, CLIP's own trunk, and a small one for tests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from detectron2.config import CfgNode

from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.build import build_clip
from ovs_core.modeling.checkpoint import read_checkpoint

from .backbones import TimmPyramid
from .clip_trunk import ClipTrunk
from .hamburger import LightHamburgerHead
from .heads import SegFormerHead, UPerHead
from .mix_transformer import MIT_DEPTHS, MixTransformer
from .mscan import MSCAN
from .published import IMAGENET, download, encoder_tensors, load_encoder
from .registry import KEY, STUDENT_REGISTRY
from .small_convnet import SmallConvNet
from .student import Pyramid, Student

SEGNEXT = {  # channels, depths, width of the head, name of the published file
    "t": ((32, 64, 160, 256), (3, 3, 5, 2), 256, "mscan_t_20230227-119e8c9f.pth"),
    "s": ((64, 128, 320, 512), (2, 2, 4, 2), 256, "mscan_s_20230227-f33ccdf2.pth"),
    "b": ((64, 128, 320, 512), (3, 3, 12, 3), 512, "mscan_b_20230227-3ab7d230.pth"),
    "l": ((64, 128, 320, 512), (3, 5, 27, 3), 1024, "mscan_l_20230227-cef260d4.pth"),
}
SEGNEXT_URL = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segnext/"
SWIN = {"t": "tiny", "s": "small", "b": "base"}
CONVNEXT = {"t": "tiny", "s": "small", "b": "base"}


@STUDENT_REGISTRY.register()
def segformer(cfg: CfgNode, variant: str, dim: int) -> Student:
    """SegFormer B0-B5: Mix Transformer and all-MLP head, stride 4."""
    node = cfg.MODEL.CLIPTEACHER.STUDENT
    _check_variant("segformer", variant, MIT_DEPTHS)
    encoder = MixTransformer(variant, weights=weights_of(cfg), drop_path=node.DROP_PATH)
    width = node.HEAD_WIDTH or 256
    head = SegFormerHead(encoder.channels, width, dim, dropout=node.DROPOUT)
    return Student(Pyramid(encoder, head), dim)


@STUDENT_REGISTRY.register()
def segnext(cfg: CfgNode, variant: str, dim: int) -> Student:
    """SegNeXt T, S, B, L: MSCAN and light Hamburger head, stride 8."""
    node = cfg.MODEL.CLIPTEACHER.STUDENT
    _check_variant("segnext", variant, SEGNEXT)
    channels, depths, width, file = SEGNEXT[variant]
    for key in ("HEAD_WIDTH", "HAM_WIDTH"):
        if node[key] % 32:
            raise UserError(f"{KEY}.{key} {node[key]}: SegNeXt's head takes multiples of 32")
    encoder = MSCAN(channels, depths, drop_path=node.DROP_PATH)
    weights = weights_of(cfg)
    if weights:
        place = f"openmmlab/mscan_{variant}.pth"
        data = (
            download(SEGNEXT_URL + file, place) if weights == IMAGENET else read_checkpoint(weights)
        )
        load_encoder(encoder, encoder_tensors(data, weights), weights)
    head = LightHamburgerHead(
        channels[1:],
        node.HEAD_WIDTH or width,
        dim,
        ham_channels=node.HAM_WIDTH or None,
        dropout=node.DROPOUT,
    )
    return Student(Pyramid(encoder, head), dim)


@STUDENT_REGISTRY.register()
def swin(cfg: CfgNode, variant: str, dim: int) -> Student:
    """Swin T, S, B (window 7) with a UPerNet head, stride 4."""
    _check_variant("swin", variant, SWIN)
    name = f"swin_{SWIN[variant]}_patch4_window7_224.ms_in1k"
    options = {"strict_img_size": False}
    return _upernet(cfg, name, dim, channels_last=True, options=options)


@STUDENT_REGISTRY.register()
def convnext(cfg: CfgNode, variant: str, dim: int) -> Student:
    """ConvNeXt T, S, B with a UPerNet head, stride 4."""
    _check_variant("convnext", variant, CONVNEXT)
    return _upernet(cfg, f"convnext_{CONVNEXT[variant]}.fb_in1k", dim)


@STUDENT_REGISTRY.register()
def small_convnet(cfg: CfgNode, variant: str, dim: int) -> Student:
    """A few dilated convolutions at stride 4, for the embedded world and for tests."""
    return Student(SmallConvNet(cfg.MODEL.CLIPTEACHER.STUDENT.HEAD_WIDTH or 48, dim), dim)


@STUDENT_REGISTRY.register()
def clip_trunk(cfg: CfgNode, variant: str, dim: int) -> Student:
    """The blocks of CLIP's ViT and a few convolutions, stride 4: a backbone where no other is."""
    clip = build_clip(cfg, device="cpu")  # as the other students are built
    network = ClipTrunk(clip.visual, cfg.MODEL.CLIPTEACHER.STUDENT.HEAD_WIDTH or 64, dim)
    mean, std = (x.flatten().tolist() for x in (clip.pixel_mean, clip.pixel_std))
    size = math.lcm(*network.encoder.patch_size)
    return Student(network, dim, pixel_mean=mean, pixel_std=std, size_divisibility=size)


def weights_of(cfg: CfgNode) -> str:
    """Encoder weights to start from: none if a whole checkpoint is loaded afterwards."""
    return "" if cfg.MODEL.WEIGHTS else cfg.MODEL.CLIPTEACHER.STUDENT.WEIGHTS


def _upernet(
    cfg: CfgNode,
    name: str,
    dim: int,
    *,
    channels_last: bool = False,
    options: dict[str, Any] | None = None,
) -> Student:
    node = cfg.MODEL.CLIPTEACHER.STUDENT
    encoder = TimmPyramid(
        name,
        weights=weights_of(cfg),
        drop_path=node.DROP_PATH,
        stage_norms=True,
        channels_last=channels_last,
        options=options,
    )
    head = UPerHead(encoder.channels, node.HEAD_WIDTH or 512, dim, dropout=node.DROPOUT)
    return Student(Pyramid(encoder, head), dim, size_divisibility=32)


def _check_variant(family: str, variant: str, known: Iterable[str]) -> None:
    names = [f"{family}_{name}" for name in known]
    check_choice(f"{KEY}.NAME", f"{family}_{variant}", names)
