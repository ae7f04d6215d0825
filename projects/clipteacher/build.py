"""From ``MODEL.CLIPTEACHER`` to the student, the teacher and the objective."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from ovs_core.clip import CLIP
from ovs_core.errors import UserError
from ovs_core.modeling.batch_norm import group_batch_norms, share_batch_norms
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.per_picture import draw_per_picture

from .adapter import VisualLanguageAdapter
from .glm import GlobalLearning
from .losses import LossSettings
from .objective import Objective
from .potential import PotentialObjects
from .students import Student, find_student
from .teacher import Teacher

KEY = "MODEL.CLIPTEACHER"


def clipteacher_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``CLIPTeacher``.

    Raises:
        UserError: for an unknown value, or if the mapper is told to number the seen classes, which
            the model does.
    """
    if cfg.DATASETS.RENUMBER_SEEN:
        raise UserError(
            "DATASETS.RENUMBER_SEEN must be False: CLIPTeacher numbers the seen classes itself"
        )
    node, shared = cfg.MODEL.CLIPTEACHER, segmenter_arguments(cfg)
    dim = shared["clip"].embed_dim
    return {
        **shared,
        "student": build_student(cfg, dim),
        "teacher": build_teacher(node, shared["clip"]),
        "objective": build_objective(node, dim),
        "gamma": node.TEST.GAMMA,
        "pictures_per_group": pictures_per_group(cfg),
    }


def pictures_per_group(cfg: CfgNode) -> int:
    """Give ``PICTURES_PER_GROUP``; a step of fewer pictures, however split, is one group."""
    step = int(cfg.SOLVER.IMS_PER_BATCH) * int(cfg.SOLVER.ACCUMULATE)
    return min(int(cfg.MODEL.CLIPTEACHER.PICTURES_PER_GROUP), step)


def build_student(cfg: CfgNode, dim: int) -> Student:
    """Build the student of ``STUDENT``.

    Args:
        cfg: finished config.
        dim: C, the width of the text features.

    Raises:
        UserError: for an unknown name, a module of ``IMPORT`` that is not there, or an entry that
            gives no module.
    """
    node = cfg.MODEL.CLIPTEACHER.STUDENT
    for module in node.IMPORT:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"{KEY}.STUDENT.IMPORT: cannot import '{module}' ({error})") from error
    entry, variant = find_student(node.NAME)
    student = entry(cfg, variant, dim)
    if not isinstance(student, nn.Module):
        raise UserError(
            f"{KEY}.STUDENT.NAME: '{node.NAME}' built a {type(student).__name__}, no nn.Module"
        )
    if not isinstance(student, Student):
        student = Student(student, dim)
    if not node.SYNC_BN:
        group_batch_norms(student, pictures_per_group(cfg))
    elif comm.get_world_size() > 1:
        if torch.device(cfg.MODEL.DEVICE).type == "cuda":
            student = nn.SyncBatchNorm.convert_sync_batchnorm(student)
        else:
            share_batch_norms(student)
    draw_per_picture(student)
    return student


def build_teacher(node: CfgNode, clip: CLIP) -> Teacher:
    """Build the teacher of ``CLIP`` and ``PLM.TOKENS`` on a CLIP's image tower."""
    return Teacher(
        clip.visual,
        tokens=node.PLM.TOKENS,
        positions=node.CLIP.POS_INTERP,
        cache_mib=node.CLIP.CACHE_MIB,
    )


def build_objective(node: CfgNode, dim: int) -> Objective:
    """Build the training side for text width ``dim``."""
    return Objective(
        glm=_global_learning(node.GLM) if node.GLM.ENABLED else None,
        potential=_potential_objects(node.PLM) if node.PLM.ENABLED else None,
        adapter=_adapter(node.VLA, dim),
        settings=_loss_settings(node.LOSS),
    )


def _global_learning(node: CfgNode) -> GlobalLearning:
    return GlobalLearning(
        pool=node.POOL,
        tau=node.TAU,
        bank_size=node.BANK_SIZE,
        normalize=node.NORMALIZE,
        unit_query=node.ATTN_UNIT_QUERY,
        negatives=node.NEGATIVES,
        reduction=node.REDUCTION,
        gather=node.GATHER,
    )


def _potential_objects(node: CfgNode) -> PotentialObjects:
    return PotentialObjects(
        token_rule=node.TOKEN_RULE,
        windows=tuple(node.WINDOWS),
        window_mode=node.WINDOW_MODE,
        center_scope=node.CENTER_SCOPE,
        distance=node.DISTANCE,
        iterations=node.ITERS,
        threshold=node.FUSE_THRESH,
        keep_leftover=node.KEEP_LEFTOVER,
    )


def _adapter(node: CfgNode, dim: int) -> VisualLanguageAdapter:
    return VisualLanguageAdapter(
        dim,
        kind=node.TYPE,
        layers=node.LAYERS,
        heads=node.HEADS,
        feedforward=node.FFN,
        dropout=node.DROPOUT,
        unit_output=node.UNIT_OUTPUT,
    )


def _loss_settings(node: CfgNode) -> LossSettings:
    return LossSettings(
        glob=node.GLOBAL,
        ce=node.CE,
        focal=node.FOCAL,
        dice=node.DICE,
        generate=node.GENERATE,
        generate_reduction=node.GENERATE_REDUCTION,
        generate_kind=node.GENERATE_KIND,
        pseudo_logits=node.PSEUDO_LOGITS,
        alpha=node.ALPHA,
        beta=node.BETA,
        ce_all_pixels=node.CE_ALL_PIXELS,
        skip_ignored=node.NEL_SKIP_IGNORED,
    )
