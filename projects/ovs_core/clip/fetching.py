"""Getting a published CLIP over the network; without one, a line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import open_clip
from huggingface_hub import constants, get_hf_file_metadata, try_to_load_from_cache
from open_clip.pretrained import get_pretrained_cfg

from ..errors import UserError
from ..files.network import why_unreachable
from ..files.weights_folder import weights_folder
from .published import PublishedFile, find_published, published_files, timm_files

OPTION = "MODEL.CLIP.PRETRAINED"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch_published(architecture: str, tag: str, cache_dir: str | None = None) -> Path:
    """Let open_clip fetch the weights of a tag.

    Args:
        architecture: open_clip's name.
        tag: of its weights; one that its registry has.
        cache_dir: where open_clip keeps downloaded weights.

    Returns:
        The file.

    Raises:
        UserError: if it cannot be had; within two seconds where there is no network.
    """
    files = published_files(architecture, tag)
    if reason := _why_not(files[0]):
        raise UserError(how_to_get(files, reason, OPTION))
    try:
        entry = get_pretrained_cfg(architecture, tag)
        return Path(open_clip.download_pretrained(entry, cache_dir=cache_dir))
    except Exception as error:  # hub clients raise many types; the person needs one message
        text = " ".join(str(error).split())[:200]
        raise UserError(how_to_get(files, f"{type(error).__name__}: {text}", OPTION)) from error


def timm_weights(model: str, option: str) -> Path | None:
    """Find the published weights of a timm model before timm would fetch them.

    Args:
        model: timm's name.
        option: config key that takes a file, for the message.

    Returns:
        The file in the weights folder; None if timm has them in its cache, or can reach them.

    Raises:
        UserError: if they are not here and cannot be reached.
    """
    files = timm_files(model)
    if found := find_published(files):
        return found[1]
    in_cache = (try_to_load_from_cache(one.repository, one.file) for one in files if one.repository)
    if not files or any(isinstance(path, str) for path in in_cache):
        return None
    if reason := _why_not(files[0]):
        raise UserError(how_to_get(files, reason, option))
    return None


def hub_sha256(file: PublishedFile) -> str:
    """Ask the hub for the SHA-256 that it states of a file; "" elsewhere, or if it states none.

    Raises:
        UserError: if the hub has no such file, or does not answer.
    """
    if not file.repository:
        return ""
    try:
        stated = get_hf_file_metadata(file.url).etag or ""
    except Exception as error:  # hub clients raise many types; the person needs one message
        text = " ".join(str(error).split())[:200]
        raise UserError(f"{file.url}: {type(error).__name__}: {text}") from error
    return stated if _SHA256.fullmatch(stated) else ""


def _why_not(file: PublishedFile) -> str:
    if constants.HF_HUB_OFFLINE and file.repository:
        return "HF_HUB_OFFLINE is set"
    return why_unreachable(file.url)


def how_to_get(files: Sequence[PublishedFile], reason: str, option: str) -> str:
    """Word what to do about weights that are not here.

    Args:
        files: any of which will do, the first one best.
        reason: why they cannot be fetched.
        option: config key that takes a file.
    """
    first = files[0]
    return (
        f"the weights {first.name} are not on this disk, and {reason}; with a network "
        f"`ovsuite weights get {first.name}` fetches them; else bring {first.url} to "
        f"{weights_folder() / first.place}, or name the file: {option} /path/to/{first.file}"
    )
