"""Where the weights of a CLIP lie: files, folders, the weights folder, the hub's cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import open_clip
from huggingface_hub import try_to_load_from_cache
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from ..files.weights_folder import find_in_weights_folder
from .architectures import EMBEDDED, EMBEDDED_DIR
from .local_folders import ClipFolder, folder_of, has_config, read_beside, read_clip_folder
from .published import PublishedFile, find_published, published_files


@dataclass(frozen=True)
class ClipSource:
    """Where weights are.

    Attributes:
        file: the weight file; it exists.
        folder: what the folder around it says of it; None if nothing does.
        sha256: how its SHA-256 begins, as a registry states it; "" if none does.
    """

    file: Path
    folder: ClipFolder | None = None
    sha256: str = ""


def find_source(
    architecture: str, pretrained: str = "", cache_dir: str | None = None
) -> ClipSource | None:
    """Say where the weights lie that ``load_clip`` reads.

    Args:
        architecture: as for ``load_clip``.
        pretrained: as for ``load_clip``, but not ``random``.
        cache_dir: where open_clip keeps downloaded weights.

    Returns:
        The place, or None if they are not on this disk.

    Raises:
        UserError: for a folder that holds no CLIP, or no weights of one.
    """
    folder = folder_of(architecture)
    if not pretrained and folder is not None:
        return _from_path(folder)
    if not pretrained and architecture in EMBEDDED:
        return ClipSource(EMBEDDED_DIR / f"{EMBEDDED[architecture]}.safetensors")
    if not is_tag(architecture, pretrained):
        return _from_path(find_in_weights_folder(pretrained)) if pretrained else None
    files = published_files(architecture, pretrained)
    return _in_weights_folder(files) or _in_hub_cache(files, cache_dir)


def is_tag(architecture: str, pretrained: str) -> bool:
    """Whether weights are named by a tag of open_clip's, or nearly so; else they are on disk."""
    if get_pretrained_cfg(architecture, pretrained):
        return True
    looks_like_path = bool(Path(pretrained).suffix) or "/" in pretrained
    return not (looks_like_path or find_in_weights_folder(pretrained).is_dir())


def pixel_statistics(
    architecture: str, pretrained: str, folder: ClipFolder | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Say how pictures are normalised: mean and standard deviation of RGB in 0..1.

    As the folder of the weights says, else open_clip's table for the tag; for a file of unknown
    origin what all tags of its architecture have in common, else OpenAI's.
    """
    if folder is not None and folder.mean and folder.std:
        return folder.mean, folder.std
    tags = list_pretrained_tags_by_model(architecture)
    known = [get_pretrained_cfg(architecture, tag) for tag in tags]
    stated = get_pretrained_cfg(architecture, pretrained)
    entries = [stated] if stated else known
    pairs = {(tuple(entry["mean"]), tuple(entry["std"])) for entry in entries}
    if len(pairs) == 1:
        return pairs.pop()
    return open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


def _from_path(path: Path) -> ClipSource | None:
    if path.is_dir():
        folder = read_clip_folder(path)
        return ClipSource(folder.weights, folder)
    if not path.is_file():
        return None
    return ClipSource(path, read_beside(path) if has_config(path.parent) else None)


def _in_weights_folder(files: Sequence[PublishedFile]) -> ClipSource | None:
    found = find_published(files)
    return None if found is None else ClipSource(found[1], sha256=found[0].sha256)


def _in_hub_cache(files: Sequence[PublishedFile], cache_dir: str | None) -> ClipSource | None:
    for file in files:
        if file.repository:
            found = try_to_load_from_cache(file.repository, file.file, cache_dir)
            if isinstance(found, str):
                return ClipSource(Path(found))
    return None
