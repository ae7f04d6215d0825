"""Writing the checkpoints of a run, and going on from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer

from ..errors import UserError
from ..files.checkpoint_files import FINAL, LAST, checkpoint_files, named_checkpoint
from ..files.writing import atomic_write, save_torch
from ..modeling.checkpoint import (
    check_content,
    checkpoint_content,
    load_checkpoint,
    read_checkpoint,
)
from ..tensor.sharded import whole

logger = logging.getLogger(__name__)

Content = dict[str, Any]


class OVSCheckpointer(DetectionCheckpointer):
    """Save trained tensors atomically, load them strictly.

    It is made as Detectron2's is: of the model, maybe wrapped for distribution, the folder of the
    checkpoints, and objects with a state, such as the trainer.

    Attributes:
        shown: the model has what is written as its weights inside the block that this begins.
        most: numbered checkpoints that are kept; 0 for all.
    """

    most: int = 0
    shown: Callable[[], AbstractContextManager[None]] = nullcontext

    def save(self, name: str, **extra: Any) -> None:
        """Write ``<save_dir>/<name>.pth`` and point ``last_checkpoint`` to it.

        Both files appear by a rename, so that a run killed at any moment leaves the previous
        checkpoint or the new one, never half of one. Where weights are shared out over processes,
        all must call it; one writes.
        """
        if not self.save_dir:
            return
        states = {key: value.state_dict() for key, value in self.checkpointables.items()}
        path = self._write(f"{name}.pth", {**states, **extra})
        if path is None:
            return
        self.tag_last_checkpoint(path.name)
        if self.most:
            self._remove_older(path)

    def save_weights(self, name: str, **extra: Any) -> None:
        """Write ``<save_dir>/<name>.pth``, which can be used but not gone on from."""
        self._write(f"{name}.pth", extra)

    def _remove_older(self, newest: Path) -> None:
        """Leave the last ones of those that were written on the way here."""
        numbered = [path for path in checkpoint_files(self.save_dir) if path.name != FINAL]
        if newest not in numbered:
            return
        for path in numbered[: max(numbered.index(newest) + 1 - self.most, 0)]:
            path.unlink()
            logger.info("removed %s", path)

    def _write(self, name: str, beside: Content) -> Path | None:
        """Write a file, if this process is the one that does."""
        path = Path(self.save_dir) / name
        with self.shown():
            content = {**checkpoint_content(self.model), **whole(beside)}
            if not self.save_to_disk:
                return None
            save_torch(path, content)
        logger.info("saved %s", path)
        return path

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the newest checkpoint in ``last_checkpoint``."""
        atomic_write(Path(self.save_dir) / LAST, last_filename_basename)

    def has_checkpoint(self) -> bool:
        """Whether a run has left something here that must not be begun anew."""
        return bool(checkpoint_files(self.save_dir)) or (Path(self.save_dir) / LAST).exists()

    def resume_or_load(self, path: str, *, resume: bool = True) -> Content:
        """Go on with the newest checkpoint of the folder, or load the weights of a file.

        Args:
            path: file to start from; empty means "nothing to load".
            resume: whether to go on, if the folder holds a checkpoint.

        Returns:
            What is left of the file.

        Raises:
            UserError: if what would be loaded is missing, damaged, not safe, or of another model.
        """
        if not resume:
            return self.load(path, checkpointables=[])
        if not self.has_checkpoint():
            begin = f"'{path}'" if path else "what the config says"
            logger.warning("%s: holds no checkpoint; beginning with %s", self.save_dir, begin)
            return self.load(path, checkpointables=[])
        return self._restore(*self._newest(), list(self.checkpointables))

    def load(self, path: str, checkpointables: list[str] | None = None) -> Content:
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
        states = self.checkpointables if checkpointables is None else checkpointables
        return self._restore(path, read_checkpoint(path), states)

    def _restore(self, path: str | Path, data: Content, states: Iterable[str]) -> Content:
        load_checkpoint(self.model, data, path)
        for key in states:
            if key not in data:
                continue
            try:
                self.checkpointables[key].load_state_dict(data.pop(key))
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise UserError(
                    f"{path}: its part '{key}' is damaged ({error!r}); use another file"
                ) from error
        return {k: v for k, v in data.items() if k not in ("model", *self.checkpointables)}

    def _newest(self) -> tuple[Path, Content]:
        """Read the checkpoint that ``last_checkpoint`` names, else the newest that can be read."""
        folder = Path(self.save_dir)
        named = named_checkpoint(folder)
        reasons = [f"{folder / LAST}: names no file of the folder"]
        if named is not None:
            try:
                return named, self._read(named)
            except UserError as error:
                reasons = [str(error)]
        found = self._readable(
            [path for path in checkpoint_files(folder) if path != named], reasons
        )
        if not found:
            raise self._refusal(reasons)
        path, data = max(found, key=lambda one: one[1]["iteration"])
        logger.warning(
            "%s; going on with %s, after %d iterations",
            reasons[0], path.name, data["iteration"] + 1,
        )  # fmt: skip
        return path, data

    def _readable(self, paths: list[Path], reasons: list[str]) -> list[tuple[Path, Content]]:
        """Read the final checkpoint and the newest other one; say why the rest can't be."""
        found: list[tuple[Path, Content]] = []
        for path in reversed(paths):
            try:
                found.append((path, self._read(path)))
            except UserError as error:
                reasons.append(str(error))
                continue
            if path.name != FINAL:
                break
        return found

    def _read(self, path: Path) -> Content:
        """Read a checkpoint that holds all that this run goes on with."""
        data = read_checkpoint(path)
        check_content(data, path, {"iteration": int, **dict.fromkeys(self.checkpointables, dict)})
        return data

    def _refusal(self, reasons: list[str]) -> UserError:
        folder = self.save_dir
        if not (files := checkpoint_files(folder)):
            return UserError(
                f"{folder}: {LAST} is there, but the folder holds no checkpoint; delete it to "
                "begin anew"
            )
        return UserError(
            f"{folder}: none of its {len(files)} checkpoints can be read ({reasons[-1]}); choose "
            "another OUTPUT_DIR, or move them away to begin anew"
        )
