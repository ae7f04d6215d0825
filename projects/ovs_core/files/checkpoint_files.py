"""The checkpoints that a training leaves in its output folder, by their names."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UserError

LAST = "last_checkpoint"  # a file that names the newest one
FINAL = "model_final.pth"
_NUMBERED = re.compile(r"model_\d+\.pth")


def checkpoint_files(folder: str | Path) -> list[Path]:
    """List the checkpoints of a training: by iteration, then the one that it ended with.

    The last need not be the newest: a training that is made longer leaves it there until it ends
    again.
    """
    numbered = [path for path in Path(folder).glob("model_*.pth") if _NUMBERED.fullmatch(path.name)]
    numbered.sort(key=lambda path: int(path.stem.removeprefix("model_")))
    final = Path(folder) / FINAL
    return numbered + [final] * final.is_file()


def named_checkpoint(folder: str | Path) -> Path | None:
    """Find the checkpoint that ``last_checkpoint`` names.

    Args:
        folder: output folder of a training.

    Returns:
        The file, which exists; None if nothing is named, or nothing that is there.

    Raises:
        UserError: if it names a file outside the folder.
    """
    pointer = Path(folder) / LAST
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):  # lost or damaged
        return None
    if "\0" in name or not name:
        return None
    if Path(name).name != name or name == "..":
        raise UserError(
            f"{pointer}: names a file outside its folder ({name}); delete it, and the newest "
            f"checkpoint of {folder} is taken"
        )
    return Path(folder) / name if (Path(folder) / name).is_file() else None
