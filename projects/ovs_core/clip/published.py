"""What the registries of open_clip and timm say of weights: files, addresses, checksums."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_url
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import get_pretrained_cfg
from timm.models import get_pretrained_cfg as get_timm_cfg
from timm.models import is_model

from ..files.weights_folder import find_in_weights_folder

# Of CLIPs, by their tags, as their authors state it where they publish them.
CLIP_LICENCES = {"openai": "MIT"}
TIMM_FILE = "model.safetensors"  # of a repository that timm makes

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEGINNING = re.compile(r"-([0-9a-f]{8})$")  # of a SHA-256, at the end of a file's name


@dataclass(frozen=True)
class PublishedFile:
    """A file of weights and where it can be had.

    Attributes:
        name: what the suite calls the weights, ``ARCHITECTURE/TAG`` of a CLIP.
        url: the file's address.
        file: its name there.
        sha256: how its SHA-256 begins, as the registry states it; "" if it does not.
        repository: on the Hugging Face hub; "" elsewhere.
        licence: as it is stated; "" if it is not.
    """

    name: str
    url: str
    file: str
    sha256: str = ""
    repository: str = ""
    licence: str = ""

    @property
    def place(self) -> str:
        """Where it goes in the weights folder."""
        return self.name + Path(self.file).suffix

    @property
    def places(self) -> list[str]:
        """Where it is looked for in the weights folder."""
        if not self.repository:
            return [self.place, self.file]
        last = self.repository.rpartition("/")[2]
        return [self.place, f"{self.repository}/{self.file}", f"{last}/{self.file}"]


def published_files(architecture: str, tag: str) -> list[PublishedFile]:
    """List the files that hold the weights of a tag, in the order in which they are taken.

    Args:
        architecture: open_clip's name.
        tag: of its weights.

    Returns:
        Those of the hub first, safetensors before the rest, as open_clip does; empty for an unknown
        tag.
    """
    entry = get_pretrained_cfg(architecture, tag) or {}
    name, licence = f"{architecture}/{tag}", CLIP_LICENCES.get(tag, "")
    found = []
    repository, _, file = entry.get("hf_hub", "").rpartition("/")
    if repository:
        # As open_clip does: a folder stands for its usual file.
        safe = str(Path(file).with_suffix(".safetensors")) if file else HF_SAFE_WEIGHTS_NAME
        found += [
            PublishedFile(name, hf_hub_url(repository, one), one, "", repository, licence)
            for one in dict.fromkeys((safe, file or HF_WEIGHTS_NAME))
        ]
    if url := entry.get("url", ""):
        file, sha256 = url.rpartition("/")[2], _stated_sha256(url)
        found.append(PublishedFile(name, url, file, sha256, licence=licence))
    return found


def timm_files(model: str) -> list[PublishedFile]:
    """List the files that hold the weights of a timm model, in the order in which they are taken.

    Args:
        model: timm's name; a tag that is left out is the one that timm takes.

    Returns:
        That of the hub first; empty for a name that timm does not know, or has no weights of.
    """
    entry = get_timm_cfg(model) if is_model(model) else None
    if entry is None:
        return []
    name, licence = f"timm/{model}", entry.license or ""
    found = []
    if repository := entry.hf_hub_id:
        file = entry.hf_hub_filename or TIMM_FILE
        url = hf_hub_url(repository, file)
        found.append(PublishedFile(name, url, file, "", repository, licence))
    if url := entry.url:
        found.append(PublishedFile(name, url, url.rpartition("/")[2], licence=licence))
    return found


def find_published(files: Sequence[PublishedFile]) -> tuple[PublishedFile, Path] | None:
    """Find the first file of a list that lies in the weights folder, and where."""
    for file in files:
        for name in file.places:
            if (path := find_in_weights_folder(name)).is_file():
                return file, path
    return None


def _stated_sha256(url: str) -> str:
    """The SHA-256 that open_clip reads out of an address: a part of it, or the name's end."""
    *_, folder, file = url.split("/")
    if _SHA256.fullmatch(folder):
        return folder
    match = _BEGINNING.search(Path(file).stem)
    return match[1] if match else ""
