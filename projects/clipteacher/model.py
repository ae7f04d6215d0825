"""CLIPTeacher: a per-pixel segmenter learns CLIP's words; CLIP itself stays behind at test time.

Letters: B pictures, K classes, C width of the text features, h x w student grid, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor
from typing_extensions import Unpack

from ovs_core.errors import UserError
from ovs_core.modeling.batch_norm import split_batch_norms
from ovs_core.modeling.global_batch import Facts, largest_size
from ovs_core.modeling.segmenter import Segmenter, SegmenterArguments

from .batch import Batch, make_batch
from .build import clipteacher_arguments
from .export import ExportedStudent, load_student, save_student
from .glm import StepTokens
from .inference import add_unseen_bonus, class_logits, fit_protocol
from .objective import Material, Objective, Step
from .students import Student
from .teacher import Teacher

TAUGHT = "clipteacher_taught"  # of a sample: what the teacher said of it


@META_ARCH_REGISTRY.register()
class CLIPTeacher(Segmenter):
    """A student that is trained under a frozen CLIP and segments without it.

    Args:
        student: dense network of C channels.
        teacher: CLIP's image tower.
        objective: Global and Pixel Learning Module with their losses.
        gamma: added to the logits of unseen classes.
        pictures_per_group: neighbouring pictures of a batch that are learned from together.
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
        pictures_per_group: int = 2,
        **segmenter: Unpack[SegmenterArguments],
    ) -> None:
        super().__init__(**segmenter)
        if student.dim != self.clip.embed_dim:
            raise UserError(
                f"the student gives {student.dim} channels, the CLIP's texts have "
                f"{self.clip.embed_dim}; build the student with that width"
            )
        self.protocol = fit_protocol(self.protocol, student.size_divisibility)
        self.student, self.objective, self.gamma = student, objective, gamma
        self.teacher, self.pictures_per_group = teacher, pictures_per_group
        self.to(self.device)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts of ``MODEL.CLIPTEACHER``; see ``build``."""
        return clipteacher_arguments(cfg)

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
        return self.student.normalize(picture)

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C', h, w) student features in front of its last convolution."""
        return self.student.features(images)

    def score(self, features: Tensor) -> Tensor:
        """(B, C', h, w) -> (B, K, h, w) logits of the current words."""
        return class_logits(features, self.text_features(), self.student.projection)

    def activate(self, maps: Tensor, which: slice) -> Tensor:
        """Logits with the bonus of the unseen classes."""
        return add_unseen_bonus(maps, which, self.unseen, self.gamma)

    def exported(self) -> ExportedStudent:
        """Give the student with the current words, as it runs without CLIP."""
        return ExportedStudent(
            self.student,
            self.text_features(),
            names=self.vocabulary.names,
            unseen=self.unseen,
            gamma=self.gamma,
            protocol=self.protocol,
        )

    def export_own(self, path: Path, cfg: CfgNode) -> ExportedStudent:
        """Write the student with the current words; see ``Segmenter.export_own``."""
        save_student(self.exported(), cfg, path)
        return load_student(path, self.device)

    def bare_forward(self, images: Tensor) -> Tensor:
        """The student alone, its C channels included; see ``Segmenter.bare_forward``."""
        return self.student(images)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Weighted losses of a batch, means over its groups; see ``Segmenter.losses``."""
        groups = self.steps(batched_inputs)
        names = groups[0].losses
        return {name: torch.stack([g.losses[name] for g in groups]).mean() for name in names}

    def facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """The CLS token of each picture, which those of other parts are contrasted with.

        What the teacher says stays in the samples, so that it is asked once.
        """
        if self.objective.glm is None:
            return super().facts(batched_inputs)
        with torch.no_grad():
            taught = self._teach(self.batch(batched_inputs))
        for one, *answer in zip(batched_inputs, *taught, strict=True):
            one[TAUGHT] = answer
        return [{"cls": cls.cpu()} for cls in taught[0]]

    def batch(self, batched_inputs: Sequence[dict[str, Any]]) -> Batch:
        """Pictures, labels and padding of training samples."""
        patch = self.teacher.encoder.patch_size
        return make_batch(
            batched_inputs,
            classes=len(self.vocabulary),
            unseen=self.unseen,
            size=largest_size(batched_inputs, self.part),
            divisor=math.lcm(self.student.size_divisibility, *patch),
            device=self.device,
        )

    def steps(self, batched_inputs: Sequence[dict[str, Any]]) -> list[Step]:
        """Losses of each group of a batch and what they stand on.

        Raises:
            UserError: if the words hold no seen class.
        """
        if not self.seen:
            raise UserError("no class is seen; at least one needs training pixels")
        batch = self.batch(batched_inputs)
        kept = [one.pop(TAUGHT, None) for one in batched_inputs]
        if None in kept:
            cls, tokens = self._teach(batch)
        else:
            cls, tokens = (torch.stack(answers) for answers in zip(*kept, strict=True))
        text = self.text_features()[self.seen]
        dense = self.student(batch.images(self.student.normalize))
        step = self._step_tokens(cls)
        material = Material(dense, cls, tokens, batch.labels, batch.padding, text, step)
        groups = [self.objective(one) for one in material.groups(self.pictures_per_group)]
        if self.objective.glm is not None and (self.part is None or self.part.last):
            self.objective.glm.remember(step.block)
        return groups

    def check_split(self, pictures: int, accumulate: int) -> None:
        """Refuse parts that cannot be cut into groups; see ``OpenVocabularyModel.check_split``."""
        if pictures % self.pictures_per_group:
            raise UserError(
                f"MODEL.CLIPTEACHER.PICTURES_PER_GROUP {self.pictures_per_group}: the {pictures} "
                "pictures of a process's batch (SOLVER.IMS_PER_BATCH by processes) cannot be cut "
                "into such groups; use fewer processes, a larger batch, or smaller groups, which "
                "is another training"
            )
        if split_batch_norms(self.student, processes=1, parts=accumulate):
            raise UserError(
                f"MODEL.CLIPTEACHER.STUDENT.SYNC_BN True: SOLVER.ACCUMULATE {accumulate} shows the "
                f"batch norms {pictures} pictures at a time, not the whole batch; use ACCUMULATE "
                "1, or SYNC_BN False for norms over a group, which is another training"
            )

    def _teach(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """CLS tokens (B, C) and dense tokens of the teacher."""
        with torch.autocast(self.device.type, enabled=False):
            taught: tuple[Tensor, Tensor] = self.teacher(batch.images(self.clip.normalize))
        return taught

    def _step_tokens(self, cls: Tensor) -> StepTokens:
        if self.part is None or self.objective.glm is None:
            return StepTokens(cls.detach().float(), 0)
        block = torch.stack([one["cls"] for one in self.part.facts])
        return StepTokens(block.to(cls.device).float(), self.part.start)

    def run_state(self) -> dict[str, Any]:
        """What an exact resume needs beside the weights: the bank of CLS tokens."""
        return {} if self.objective.glm is None else self.objective.glm.run_state()

    def load_run_state(self, state: Mapping[str, Any]) -> None:
        """Restore ``run_state``."""
        if self.objective.glm is not None and state:
            self.objective.glm.load_run_state(state)
