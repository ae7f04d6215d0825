"""A CLIP as a folder: open_clip's (``local-dir:``) and those of ``transformers``.

Such a folder says itself what its weights are of: the sizes, the activation, and how pictures are
normalised. Nothing in it is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.json_files import parse_json
from .transformers_config import CLIP_VOCABULARY, KINDS, config_of_transformers

SCHEMA = "local-dir:"  # as open_clip spells it
OPEN_CLIP_CONFIG, CONFIG = "open_clip_config.json", "config.json"
# Safetensors first, as both code bases do.
_WEIGHTS = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.bin",
)  # fmt: skip
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "spiece.model")


@dataclass(frozen=True)
class ClipFolder:
    """What a folder says of the CLIP in it.

    Attributes:
        path: the folder.
        config: open_clip's model configuration.
        mean: RGB mean in 0..1 that pictures are normalised with; None if it is not said.
        std: the standard deviation.
        own_tokenizer: whether its tokenizer is that of the folder and not CLIP's.
    """

    path: Path
    config: Mapping[str, Any]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    own_tokenizer: bool

    @property
    def weights(self) -> Path:
        """The weight file.

        Raises:
            UserError: if there is none, or they are in several files.
        """
        found = [self.path / name for name in _WEIGHTS if (self.path / name).is_file()]
        if found:
            return found[0]
        if any(self.path.glob("*.index.json")):
            raise UserError(
                f"{self.path}: its weights are in several files; save them as one: "
                "model.save_pretrained(folder, max_shard_size='100GB')"
            )
        raise UserError(f"{self.path}: holds no weights; looked for {', '.join(_WEIGHTS)}")


def folder_of(architecture: str) -> Path | None:
    """Give the folder that ``local-dir:FOLDER`` names; None for another architecture."""
    return Path(architecture.removeprefix(SCHEMA)) if architecture.startswith(SCHEMA) else None


def has_config(path: Path) -> bool:
    """Whether a folder says what CLIP is in it."""
    return any((path / name).is_file() for name in (OPEN_CLIP_CONFIG, CONFIG))


def read_clip_folder(path: Path) -> ClipFolder:
    """Read what a folder says of its CLIP.

    Raises:
        UserError: if it is no folder of a CLIP, or of one that is not known here.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; check MODEL.CLIP")
    if (path / OPEN_CLIP_CONFIG).is_file():
        content = _read(path / OPEN_CLIP_CONFIG)
        config, shown = content.get("model_cfg"), content.get("preprocess_cfg") or {}
        if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= set(
            config
        ):
            raise UserError(f"{path / OPEN_CLIP_CONFIG}: holds no 'model_cfg' of open_clip")
        own = "hf_tokenizer_name" in config["text_cfg"]
        return ClipFolder(path, config, _three(shown, "mean"), _three(shown, "std"), own)
    if not (path / CONFIG).is_file():
        raise UserError(
            f"{path}: no folder of a CLIP; {OPEN_CLIP_CONFIG} (open_clip) or {CONFIG} "
            "(transformers) says what the weights are of"
        )
    config = config_of_transformers(_read(path / CONFIG), path / CONFIG)
    shown = _read(path / name) if (path / (name := "preprocessor_config.json")).is_file() else {}
    own = config["text_cfg"]["vocab_size"] != CLIP_VOCABULARY
    return ClipFolder(path, config, _three(shown, "image_mean"), _three(shown, "image_std"), own)


def read_beside(path: Path) -> ClipFolder | None:
    """Read what the folder of a weight file says of it.

    Args:
        path: the file.

    Returns:
        None if the folder is not about this file, or about no CLIP.
    """
    if path.name not in _WEIGHTS:
        return None
    of_open_clip = (path.parent / OPEN_CLIP_CONFIG).is_file()
    if not of_open_clip and _read(path.parent / CONFIG).get("model_type") not in KINDS:
        return None
    return read_clip_folder(path.parent)


def tokenizer_files(path: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((path / name).is_file() for name in _TOKENIZERS)


def _three(shown: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    values = shown.get(name)
    return tuple(map(float, values)) if isinstance(values, list) and len(values) == 3 else None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"holds a {type(content).__name__}")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    return content
