"""From the config of MAFT and its first stage to the parts of their models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import detectron2.projects.deeplab  # noqa: F401  registers build_resnet_deeplab_backbone
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone
from torch import nn

from ovs_core.clip import CLIP, ClipIdentity, read_weight_file
from ovs_core.errors import UserError
from ovs_core.load_report import load_weights
from ovs_core.modeling.build import build_clip, segmenter_arguments
from ovs_core.modeling.checkpoint import check_content, read_checkpoint
from ovs_core.modeling.mask2former import build_criterion, whole_picture
from ovs_core.modeling.shared_file import FORMAT

from ..build import build_pixel_decoder, build_query_decoder
from ..texts import TextRows
from .network import ProposalNetwork

FIRST_STAGE = "MAFTProposals"
_PARTS = ("proposals.", "text_rows.")


def proposal_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``MAFTProposals``."""
    segmenter = whole_picture(segmenter_arguments(cfg))
    network = build_network(cfg, segmenter["clip"].embed_dim)
    if cfg.MODEL.MAFT.BACKBONE_WEIGHTS:
        load_backbone(network.backbone, cfg.MODEL.MAFT.BACKBONE_WEIGHTS)
    return {**segmenter, "proposals": network, "criterion": build_criterion(cfg.MODEL.MASK_FORMER)}


def maft_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``MAFT``."""
    node, segmenter = cfg.MODEL.MAFT, whole_picture(segmenter_arguments(cfg))
    return {
        **segmenter,
        "proposals": build_network(cfg, segmenter["clip"].embed_dim),
        "build_original": partial(build_original_tower, cfg),
        "first_stage": "" if cfg.MODEL.WEIGHTS else node.PROPOSALS,
        "start_layer": node.START_LAYER,
        "clip_size": node.CLIP_SIZE,
        "temperature": node.TEMPERATURE,
        "distillation_weight": node.DISTILLATION_WEIGHT,
        "ensemble_weight": node.ENSEMBLE_WEIGHT,
    }


def build_network(cfg: CfgNode, dim: int) -> ProposalNetwork:
    """Build the proposal network of ``MODEL.BACKBONE``, ``SEM_SEG_HEAD`` and ``MASK_FORMER``.

    Args:
        cfg: finished config.
        dim: width of the joint space.

    Raises:
        UserError: if the backbone does not give the features that the head reads.
    """
    backbone = build_backbone(cfg)
    channels = {name: shape.channels for name, shape in backbone.output_shape().items()}
    if set(channels) != {"res2", "res3", "res4", "res5"}:
        raise UserError(
            f"MODEL.RESNETS.OUT_FEATURES: the proposal network reads res2 to res5, but "
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} gives {', '.join(channels)}"
        )
    return ProposalNetwork(
        backbone, build_pixel_decoder(cfg, channels), build_query_decoder(cfg, dim)
    )


def load_backbone(backbone: nn.Module, path: str) -> None:
    """Load a backbone that was trained on ImageNet.

    Args:
        backbone: of the proposal network.
        path: ``.safetensors`` or a state dict saved by torch, in Detectron2's names.

    Raises:
        UserError: if the file is missing or of another backbone.
    """
    source = f"MODEL.MAFT.BACKBONE_WEIGHTS {path}"
    if not Path(path).is_file():
        raise UserError(f"{source}: no such file")
    load_weights(
        backbone,
        read_weight_file(path).tensors,
        source=source,
        owner="the backbone of MODEL.RESNETS",
        mend="give the weights of this backbone in Detectron2's names (stem.conv1.weight, ...)",
    )


def load_first_stage(network: ProposalNetwork, text_rows: TextRows, clip: CLIP, path: str) -> None:
    """Take the mask proposals and the row for "nothing" from a run of the first stage.

    Args:
        network: filled.
        text_rows: filled.
        clip: must be the run's.
        path: checkpoint of the run.

    Raises:
        UserError: if it is missing, of another kind, or stands on another CLIP.
    """
    source = f"MODEL.MAFT.PROPOSALS {path}"
    if not Path(path).is_file():
        raise UserError(f"{source}: no such checkpoint; train maftplus/maft_proposals first")
    data = read_checkpoint(path)
    if data.get("format") != FORMAT or data.get("architecture") != FIRST_STAGE:
        raise UserError(
            f"{source}: no checkpoint of MAFT's first stage; give one of a run of "
            "maftplus/maft_proposals"
        )
    check_content(data, source)
    clip.identity.check(data["clip"], source)
    parts = nn.ModuleDict({"proposals": network, "text_rows": text_rows})
    load_weights(
        parts,
        {k: v for k, v in data["model"].items() if k.startswith(_PARTS)},
        source=source,
        owner="this config's proposal network",
        mend="set MODEL.RESNETS, SEM_SEG_HEAD and MASK_FORMER as in the run that wrote it",
    )
    network.trained.fill_(True)


def build_original_tower(cfg: CfgNode, student: ClipIdentity) -> nn.Module:
    """Build the image tower that training started from: that of the config's CLIP.

    Args:
        cfg: finished config.
        student: the CLIP that the model stands on.

    Raises:
        UserError: if they are not the same CLIP.
    """
    clip = build_clip(cfg)
    if clip.identity.text_fingerprint != student.text_fingerprint:
        raise UserError(
            "MODEL.CLIP: the checkpoint brought its own CLIP, and the one that its training "
            "started from, which the self-distillation needs, is not in it; name that CLIP"
        )
    return clip.visual
