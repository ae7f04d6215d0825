"""A trained student as one file that runs without CLIP: weights, text features, names and bonus.

``ovsuite export --output student.pth`` writes it, ``load_student`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from ovs_core.errors import UserError
from ovs_core.files.writing import save_torch
from ovs_core.load_report import load_weights
from ovs_core.modeling.build import build_protocol
from ovs_core.modeling.checkpoint import read_checkpoint
from ovs_core.modeling.protocols import InferenceProtocol
from ovs_core.modeling.scores import Scores, WindowScores, size_of

from .build import build_student
from .config import add_clipteacher_config
from .inference import add_unseen_bonus, class_logits, fit_protocol
from .students import Student

FORMAT = "clipteacher-student"


class ExportedStudent(nn.Module):
    """A student with the text features of its words; no CLIP is needed.

    Args:
        student: the network.
        text: (K, C) unit text features.
        names: K class names.
        unseen: indices of the unseen classes.
        gamma: their bonus.
        protocol: how pictures are shown.
    """

    text: Tensor

    def __init__(
        self,
        student: Student,
        text: Tensor,
        *,
        names: Sequence[str],
        unseen: Sequence[int] = (),
        gamma: float = 1.5,
        protocol: InferenceProtocol,
    ) -> None:
        super().__init__()
        self.student = student
        self.register_buffer("text", text)
        self.names, self.unseen, self.gamma = tuple(names), tuple(unseen), gamma
        self.protocol = fit_protocol(protocol, student.size_divisibility)

    @torch.no_grad()
    def forward(self, picture: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(3, H', W') RGB in 0..255 -> (H, W) int64 class indices; ``size`` is (H, W)."""
        encoded = self.protocol.encode(self, self.student.normalize(picture))
        return self.protocol.score(self, encoded, size or size_of(picture)).labels()

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C', h, w)."""
        return self.student.features(images)

    def score(self, features: Tensor) -> Tensor:
        """(B, C', h, w) -> (B, K, h, w)."""
        return class_logits(features, self.text, self.student.projection)

    def activate(self, maps: Tensor, which: slice) -> Tensor:
        """Logits with the bonus of the unseen classes."""
        return add_unseen_bonus(maps, which, self.unseen, self.gamma)

    def finish_windows(self, windows: WindowScores) -> Scores:
        """The activated mean of the windows."""
        return windows


def save_student(exported: ExportedStudent, cfg: CfgNode, path: str | Path) -> None:
    """Write a student with its words.

    Args:
        exported: what is written.
        cfg: that its model was built from.
        path: file to write.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "student_config": cfg.MODEL.CLIPTEACHER.STUDENT.dump(),
        "clip_architecture": cfg.MODEL.CLIP.ARCHITECTURE,  # the shapes of a student of its trunk
        "protocol_config": cfg.MODEL.OVS.PROTOCOL.dump(),
        "student": {k: v.cpu() for k, v in exported.student.state_dict().items()},
        "text": exported.text.cpu(),
        "names": list(exported.names),
        "unseen": list(exported.unseen),
        "gamma": exported.gamma,
    }
    save_torch(path, content)


def load_student(path: str | Path, device: str | torch.device = "cpu") -> ExportedStudent:
    """Read a file of ``save_student``; no CLIP is built.

    Args:
        path: the file.
        device: where the student goes.

    Returns:
        The student in eval mode.

    Raises:
        UserError: if the file is of another kind, or does not fit the student that it names.
    """
    data = read_checkpoint(path)
    if data.get("format") != FORMAT:
        raise UserError(f"{path}: no exported student; write one with `ovsuite export`")
    cfg = _config(data)
    student = build_student(cfg, data["text"].shape[1])
    load_weights(
        student,
        data["student"],
        source=path,
        owner="the student that it names",
        mend="export it again with this version",
    )
    exported = ExportedStudent(
        student,
        data["text"],
        names=data["names"],
        unseen=data["unseen"],
        gamma=data["gamma"],
        protocol=build_protocol(cfg),
    )
    return exported.to(device).eval()


def _config(data: Mapping[str, Any]) -> CfgNode:
    """What the student and its protocol are built from; its weights come with the file."""
    cfg = CfgNode({"MODEL": {"DEVICE": "cpu", "WEIGHTS": ""}})
    add_clipteacher_config(cfg)
    architecture = data.get("clip_architecture", "")
    clip = {"ARCHITECTURE": architecture, "PRETRAINED": "random", "CACHE_DIR": ""}
    cfg.MODEL.CLIP = CfgNode(clip)
    cfg.MODEL.CLIPTEACHER.STUDENT.merge_from_other_cfg(CfgNode.load_cfg(data["student_config"]))
    cfg.MODEL.CLIPTEACHER.STUDENT.WEIGHTS = ""
    cfg.MODEL.OVS = CfgNode({"PROTOCOL": CfgNode.load_cfg(data["protocol_config"])})
    return cfg
