"""Writing the checkpoints of a run, and going on from them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from ..files.writing import atomic_path, atomic_write
from ..modeling.checkpoint import checkpoint_content, load_checkpoint, read_checkpoint

logger = logging.getLogger(__name__)


class OVSCheckpointer(DetectionCheckpointer):
    """Save trained tensors atomically, load them strictly.

    It is made as Detectron2's is: of the model, maybe wrapped for distribution, the folder of the
    checkpoints, and objects with a state, such as the trainer.
    """

    def save(self, name: str, **extra: Any) -> None:
        """Write ``<save_dir>/<name>.pth`` and point ``last_checkpoint`` to it.

        Both files appear by a rename, so that a run killed at any moment leaves the previous
        checkpoint or the new one, never half of one.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {
            **checkpoint_content(self.model),
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
        load_checkpoint(self.model, data, path)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in data:
                self.checkpointables[key].load_state_dict(data.pop(key))
        return {k: v for k, v in data.items() if k not in ("model", *self.checkpointables)}
