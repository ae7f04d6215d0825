"""CLIPTeacher: a per-pixel segmenter learns CLIP's words; CLIP itself stays behind at test time.

Letters: B pictures, K classes, C width of the text features, h x w student grid, H x W pixels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ovs_core.errors import UserError
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.protocols import InferenceProtocol, MultiScaleFlip, Slide, Whole
from ovs_core.modeling.segmenter import Segmenter

from .adapter import VisualLanguageAdapter
from .batch import Batch, make_batch
from .glm import GlobalLearning
from .inference import add_unseen_bonus, class_logits
from .objective import LossSettings, Objective, Step
from .potential import PotentialObjects
from .students import Student, build_student
from .teacher import Teacher


@META_ARCH_REGISTRY.register()
class CLIPTeacher(Segmenter):
    """A student that is trained under a frozen CLIP and segments without it.

    Args:
        student: dense network of C channels.
        teacher: CLIP's image tower.
        objective: Global and Pixel Learning Module with their losses.
        gamma: added to the logits of unseen classes.
        segmenter: arguments of ``Segmenter``.
    """

    @configurable
    def __init__(
        self,
        *,
        student: Student,
        teacher: Teacher,
        objective: Objective,
        gamma: float = 1.5,
        segmenter: dict[str, Any],
    ) -> None:
        super().__init__(**segmenter)
        if student.dim != self.clip.embed_dim:
            raise UserError(
                f"the student gives {student.dim} channels, the CLIP's texts have "
                f"{self.clip.embed_dim}; build the student with that width"
            )
        self.protocol = fit_protocol(self.protocol, student.size_divisibility)
        self.student, self.objective, self.gamma = student, objective, gamma
        self._teacher = [teacher]  # not a submodule: its tower is already one, as the CLIP's
        self.to(self.clip.pixel_mean.device)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read ``MODEL.CLIPTEACHER``.

        Raises:
            UserError: if the mapper is told to number the seen classes, which the model does.
        """
        if cfg.DATASETS.RENUMBER_SEEN:
            raise UserError(
                "DATASETS.RENUMBER_SEEN must be False: CLIPTeacher numbers the seen classes itself"
            )
        node, segmenter = cfg.MODEL.CLIPTEACHER, segmenter_arguments(cfg)
        clip = segmenter["clip"]
        return {
            "segmenter": segmenter,
            "student": build_student(cfg, clip.embed_dim),
            "teacher": Teacher(
                clip.visual,
                tokens=node.PLM.TOKENS,
                positions=node.CLIP.POS_INTERP,
                cache_mib=node.CLIP.CACHE_MIB,
            ),
            "objective": build_objective(node, clip.embed_dim),
            "gamma": node.TEST.GAMMA,
        }

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher."""
        return self._teacher[0]

    @property
    def seen(self) -> list[int]:
        """Indices of the classes that have training labels."""
        hidden = set(self.unseen)
        return [index for index in range(len(self.vocabulary)) if index not in hidden]

    def train(self, mode: bool = True) -> CLIPTeacher:
        """Switch the student and the objective; CLIP stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def normalize(self, picture: Tensor) -> Tensor:
        """Bring RGB values in 0..255 to the student's statistics."""
        return self.student.normalize(picture.to(self.device))

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C', h, w) student features in front of its last convolution."""
        return self.student.features(images)

    def score(self, features: Tensor) -> Tensor:
        """(B, C', h, w) -> (B, K, h, w) logits of the current words."""
        return class_logits(features, self.text_features(), self.student.projection)

    def activate(self, maps: Tensor, which: slice) -> Tensor:
        """Logits with the bonus of the unseen classes."""
        return add_unseen_bonus(maps, which, self.unseen, self.gamma)

    def bare_forward(self, images: Tensor) -> Tensor:
        """The student alone, its C channels included; see ``Segmenter.bare_forward``."""
        return self.student(images)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Weighted losses of a batch; see ``Segmenter.losses``."""
        return self.step(self.batch(batched_inputs)).losses

    def batch(self, batched_inputs: list[dict[str, Any]]) -> Batch:
        """Pictures, labels and padding of training samples."""
        patch = self.teacher.encoder.patch_size
        return make_batch(
            batched_inputs,
            classes=len(self.vocabulary),
            unseen=self.unseen,
            divisor=math.lcm(self.student.size_divisibility, *patch),
            device=self.device,
        )

    def step(self, batch: Batch) -> Step:
        """Losses of a batch and what they stand on.

        Raises:
            UserError: if the words hold no seen class.
        """
        if not self.seen:
            raise UserError("no class is seen; at least one needs training pixels")
        with torch.autocast(self.device.type, enabled=False):
            cls, tokens = self.teacher(batch.images(self.clip.normalize))
            text = self.text_features()[self.seen]
        dense = self.student(batch.images(self.student.normalize))
        return self.objective(
            dense, cls, tokens, labels=batch.labels, padding=batch.padding, text=text
        )

    def run_state(self) -> dict[str, Any]:
        """What an exact resume needs beside the weights: the bank of CLS tokens."""
        return {} if self.objective.glm is None else self.objective.glm.run_state()

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Restore ``run_state``."""
        if self.objective.glm is not None and state:
            self.objective.glm.load_run_state(state)


def build_objective(node: CfgNode, dim: int) -> Objective:
    """Build the training side of ``MODEL.CLIPTEACHER`` for text width ``dim``."""
    glm, plm, vla, loss = node.GLM, node.PLM, node.VLA, node.LOSS
    learning = GlobalLearning(
        pool=glm.POOL, tau=glm.TAU, bank_size=glm.BANK_SIZE, normalize=glm.NORMALIZE,
        unit_query=glm.ATTN_UNIT_QUERY, negatives=glm.NEGATIVES, reduction=glm.REDUCTION,
        gather=glm.GATHER,
    )  # fmt: skip
    potential = PotentialObjects(
        token_rule=plm.TOKEN_RULE, windows=tuple(plm.WINDOWS), window_mode=plm.WINDOW_MODE,
        center_scope=plm.CENTER_SCOPE, distance=plm.DISTANCE, iterations=plm.ITERS,
        threshold=plm.FUSE_THRESH, keep_leftover=plm.KEEP_LEFTOVER,
    )  # fmt: skip
    adapter = VisualLanguageAdapter(
        dim, kind=vla.TYPE, layers=vla.LAYERS, heads=vla.HEADS, feedforward=vla.FFN,
        dropout=vla.DROPOUT, unit_output=vla.UNIT_OUTPUT,
    )  # fmt: skip
    settings = LossSettings(
        glob=loss.GLOBAL, ce=loss.CE, focal=loss.FOCAL, dice=loss.DICE, generate=loss.GENERATE,
        generate_reduction=loss.GENERATE_REDUCTION, ce_all_pixels=loss.CE_ALL_PIXELS,
        skip_ignored=loss.NEL_SKIP_IGNORED,
    )  # fmt: skip
    return Objective(
        glm=learning if glm.ENABLED else None,
        potential=potential if plm.ENABLED else None,
        adapter=adapter,
        settings=settings,
    )


def fit_protocol(protocol: InferenceProtocol, divisor: int) -> InferenceProtocol:
    """Make a protocol show only sides that the student takes.

    Args:
        protocol: as configured.
        divisor: of the student.

    Raises:
        UserError: if the window of a sliding protocol is no multiple of it.
    """
    if isinstance(protocol, MultiScaleFlip):
        return dataclasses.replace(protocol, base=fit_protocol(protocol.base, divisor))
    if isinstance(protocol, Whole):
        return dataclasses.replace(protocol, divisor=math.lcm(protocol.divisor, divisor))
    if isinstance(protocol, Slide) and protocol.window % divisor:
        raise UserError(
            f"MODEL.OVS.PROTOCOL.WINDOW {protocol.window} is no multiple of the {divisor} pixels "
            "that the student needs"
        )
    return protocol
