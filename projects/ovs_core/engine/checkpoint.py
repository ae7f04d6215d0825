"""Checkpoints that hold what was trained, and the identity of the CLIP it stands on.

A file is a dict that ``torch.load(weights_only=True)`` reads:
``format`` (``"ovsuite"``), ``architecture`` (meta-architecture), ``clip`` (identity), ``model``
(name -> tensor), and in checkpoints of a run also ``trainer`` and ``scheduler`` states and
``iteration``.
"""

from __future__ import annotations

import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from ..errors import UserError
from ..files.writing import atomic_path, atomic_write
from ..load_report import LoadReport, load_report
from ..modeling.contract import OpenVocabularyModel

logger = logging.getLogger(__name__)

FORMAT = "ovsuite"


class OVSCheckpointer(DetectionCheckpointer):
    """Save trained tensors atomically, load them strictly.

    Args:
        model: the model, maybe wrapped for distribution.
        save_dir: folder of the checkpoints.
        checkpointables: objects with a state, such as the trainer.
    """

    def save(self, name: str, **extra: Any) -> None:
        """Write ``<save_dir>/<name>.pth`` and point ``last_checkpoint`` to it.

        Both files appear by a rename, so that a run killed at any moment leaves the previous
        checkpoint or the new one, never half of one.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {
            "format": FORMAT,
            "architecture": type(self.model).__name__,
            "clip": self.model.clip.identity(),
            "model": trained_state(self.model),
            **{key: value.state_dict() for key, value in self.checkpointables.items()},
            **extra,
        }
        path = Path(self.save_dir) / f"{name}.pth"
        with atomic_path(path) as part:
            torch.save(data, part)
        self.tag_last_checkpoint(path.name)
        logger.info("saved %s", path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the newest checkpoint in ``last_checkpoint``."""
        atomic_write(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a checkpoint of the suite, or a published one that the method can rename.

        Args:
            path: file; empty means "nothing to load".
            checkpointables: which states to restore beside the model; default all present.

        Returns:
            What is left of the file.

        Raises:
            UserError: if the file is missing, damaged, not safe, or of another model.
        """
        if not path:
            return {}
        data = read_checkpoint(path)
        if data.get("format") == FORMAT:
            self._load_own(data, path)
        else:
            load_published(self.model, data, path)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in data:
                self.checkpointables[key].load_state_dict(data.pop(key))
        return {k: v for k, v in data.items() if k not in ("model", *self.checkpointables)}

    def _load_own(self, data: dict[str, Any], path: str) -> None:
        architecture = type(self.model).__name__
        if data["architecture"] != architecture:
            raise UserError(
                f"{path}: holds a {data['architecture']}, but the config builds a {architecture}; "
                "use the config that it was trained with"
            )
        self._check_clip(data["clip"], path)
        report = load_report(data["model"], trained_state(self.model))
        if not report.complete:
            raise UserError(f"{path}: does not fit this config: {report.summary()}")
        self.model.load_state_dict(data["model"], strict=False)
        logger.info("%s: all %d trained tensors loaded", path, len(data["model"]))

    def _check_clip(self, stored: dict[str, str], path: str) -> None:
        current = self.model.clip.identity()
        if stored["text_fingerprint"] != current["text_fingerprint"]:
            raise UserError(
                f"{path}: was trained on CLIP {stored['architecture']} "
                f"({stored['pretrained']}), but the "
                f"config loads {current['architecture']} ({current['pretrained']}) with other "
                "weights; "
                "set MODEL.CLIP accordingly"
            )


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Collect what a checkpoint must hold.

    Args:
        model: any module.

    Returns:
        Name -> tensor of every trained parameter (a shared one once), and of the persistent buffers
        of modules that train something.
    """
    kept: dict[str, Tensor] = {}
    state = model.state_dict()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kept[name] = state[name]
    for prefix, module in model.named_modules():
        if not any(p.requires_grad for p in module.parameters(recurse=False)):
            continue
        for name, _ in module.named_buffers(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            if full in state:  # non-persistent buffers are not
                kept[full] = state[full]
    return kept


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint without running anything in it.

    Raises:
        UserError: if the file is missing, truncated, or would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; check MODEL.WEIGHTS")
    if path.suffix == ".safetensors":
        from ..clip.weight_files import read_weight_file

        return {"model": read_weight_file(path).tensors}
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: refused, because reading it would run code or it is no checkpoint"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged or truncated checkpoint ({error})") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds a {type(data).__name__}, not a checkpoint")
    return data


def load_published(
    model: OpenVocabularyModel, data: dict[str, Any], path: str | Path
) -> LoadReport:
    """Load weights that another code base published, through the method's own key map.

    Args:
        model: whose ``rename_published`` maps the names.
        data: the file's content: a state dict, maybe under ``model`` or ``state_dict``.
        path: named in messages.

    Returns:
        What was used, missing, unexpected and of other shape (also logged).

    Raises:
        UserError: if the method has no key map, or less than 95 % of the trained tensors are found.
    """
    tensors = data.get("model", data.get("state_dict", data))
    tensors = {k: v for k, v in tensors.items() if isinstance(v, Tensor)}
    try:
        renamed = model.rename_published(tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    expected = trained_state(model)
    everything = model.state_dict()
    report = load_report(renamed, expected, known=everything)
    logger.info("%s: %s", path, report.summary(limit=len(everything) + len(renamed)))
    if report.share < 0.95:
        raise UserError(f"{path}: refused, it fits this model badly: {report.summary()}")
    model.load_state_dict({k: v for k, v in renamed.items() if k in report.used}, strict=False)
    return report
