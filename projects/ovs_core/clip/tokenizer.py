"""The tokenizer that belongs to an architecture, and what is asked of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import open_clip
from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from torch import Tensor

from ..errors import UserError
from ..files.network import why_unreachable
from ..files.weights_folder import find_in_weights_folder, weights_folder
from .architectures import EMBEDDED_DIR, ModelConfig
from .local_folders import folder_of, read_clip_folder, tokenizer_files


class Tokenizer(Protocol):
    """Strings in, padded token ids out.

    Attributes:
        context_length: ids per text, start and end included.
    """

    context_length: int

    def __call__(self, texts: list[str], /) -> Tensor:
        """P strings -> (P, context length) ids; a text that is too long is cut."""


class _Encoder(Protocol):
    def encode(self, text: str, /) -> Sequence[int]: ...


def build_tokenizer(architecture: str, config: ModelConfig) -> Tokenizer:
    """Make the tokenizer that belongs to an architecture.

    Args:
        architecture: as for ``load_clip``.
        config: its model configuration; ``text_cfg.bpe_file`` names a merges file beside the
            embedded configurations.
    """
    text = config["text_cfg"]
    tokenizer: Tokenizer
    if "bpe_file" in text:
        tokenizer = open_clip.SimpleTokenizer(
            bpe_path=str(EMBEDDED_DIR / text["bpe_file"]), context_length=text["context_length"]
        )
    elif (folder := folder_of(architecture)) is not None and read_clip_folder(folder).own_tokenizer:
        tokenizer = _folder_tokenizer(folder, text)
    elif folder is not None or architecture.endswith(".json"):
        tokenizer = open_clip.SimpleTokenizer(context_length=text.get("context_length", 77))
    elif name := text.get("hf_tokenizer_name", ""):
        tokenizer = _hub_tokenizer(architecture, text, name)
    else:
        tokenizer = open_clip.get_tokenizer(architecture)
    return tokenizer


def _hub_tokenizer(architecture: str, text: Mapping[str, Any], name: str) -> Tokenizer:
    """Take a tokenizer of the hub from this disk, else let open_clip fetch it.

    Raises:
        UserError: if it is not here and cannot be fetched.
    """
    known = find_in_weights_folder(name)
    if known.is_dir() and tokenizer_files(known):
        return _folder_tokenizer(known, text)
    cached = try_to_load_from_cache(name, "tokenizer_config.json")
    if isinstance(cached, str):
        return _folder_tokenizer(Path(cached).parent, text)
    url = hf_hub_url(name, "tokenizer_config.json")
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why_unreachable(url)
    if reason:
        raise UserError(
            f"the tokenizer of {architecture} is not on this disk, and {reason}; bring the files "
            f"of {url.partition('/resolve/')[0]} to {weights_folder() / name}"
        )
    tokenizer: Tokenizer = open_clip.get_tokenizer(architecture)
    return tokenizer


def _folder_tokenizer(folder: Path, text: Mapping[str, Any]) -> Tokenizer:
    """Read the tokenizer of a folder, as open_clip does for ``local-dir:``.

    Raises:
        UserError: if there is none, it cannot be read, or ``transformers`` is not installed.
    """
    if not tokenizer_files(folder):
        raise UserError(
            f"{folder}: its CLIP has a tokenizer of its own, which is not in the folder"
        )
    try:
        tokenizer: Tokenizer = open_clip.tokenizer.HFTokenizer(
            str(folder),
            context_length=text["context_length"],
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        )
    except ImportError as error:
        raise UserError(
            f"{folder}: its tokenizer needs the package transformers; pip install -e '.[students]'"
        ) from error
    except Exception as error:  # the library raises many types for a damaged file
        raise UserError(f"{folder}: its tokenizer cannot be read ({error})") from error
    return tokenizer


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Count a text's tokens before anything is cut."""
    # Those of Hugging Face are wrapped, and only the one inside encodes single texts; open_clip's
    # own does so itself.
    inside: _Encoder | None = getattr(tokenizer, "tokenizer", None)
    return len((cast(_Encoder, tokenizer) if inside is None else inside).encode(text))
