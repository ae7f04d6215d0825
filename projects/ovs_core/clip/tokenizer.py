"""The tokenizer that belongs to an architecture, and what is asked of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import open_clip
from torch import Tensor

from .architectures import EMBEDDED_DIR, ModelConfig


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
    elif architecture.endswith(".json"):
        tokenizer = open_clip.SimpleTokenizer(context_length=text.get("context_length", 77))
    else:
        tokenizer = open_clip.get_tokenizer(architecture)
    return tokenizer


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Count a text's tokens before anything is cut."""
    # Those of Hugging Face are wrapped, and only the one inside encodes single texts; open_clip's
    # own does so itself.
    inside: _Encoder | None = getattr(tokenizer, "tokenizer", None)
    return len((cast(_Encoder, tokenizer) if inside is None else inside).encode(text))
