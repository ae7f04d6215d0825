"""Names of published checkpoints, by rules that work in both directions.

A rule is a pair (published, ours) with ``{}`` for a number or, at the end, for the rest of the
name; of several rules the first that fits is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..clip import RANDOM
from ..errors import UserError
from .segmenter import Segmenter

Rules = Sequence[tuple[str, str]]
_IMAGE, _CLIP = "clip.model.visual.", "clip.model."


def translate(name: str, rules: Rules) -> str:
    """Apply the first rule (pattern, result) that fits a name; without one it stays."""
    for pattern, result in rules:
        found = _compiled(pattern).fullmatch(name)
        if found:
            return result.format(*found.groups())
    return name


def without_known_text(model: Segmenter, renamed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the text weights that the loaded CLIP has already, up to rounding.

    Args:
        model: the model that will get the tensors.
        renamed: name of this suite -> tensor.

    Raises:
        UserError: if the text weights are those of another CLIP than the config's.
    """
    known = _known_text(model, renamed)
    return {name: value for name, value in renamed.items() if name not in known}


def _known_text(model: Segmenter, renamed: Mapping[str, Tensor]) -> set[str]:
    state, identity = model.state_dict(), model.clip.identity
    text = {n for n in renamed if n.startswith(_CLIP) and not n.startswith(_IMAGE) and n in state}
    if any(renamed[n].shape != state[n].shape for n in text):
        return set()  # refused by whoever loads them
    differing = [
        n for n in text if not torch.allclose(renamed[n].float(), state[n].cpu().float(), atol=1e-4)
    ]
    if differing and identity.pretrained != RANDOM:
        raise UserError(
            f"the checkpoint stands on another CLIP than {identity.architecture} "
            f"({identity.pretrained}): {len(differing)} of {len(text)} text weights differ; set "
            f"MODEL.CLIP.PRETRAINED to the published tag, or to '{RANDOM}' to take CLIP from the "
            "checkpoint"
        )
    return set() if differing else text


def _compiled(pattern: str) -> re.Pattern[str]:
    # The last mark takes the rest of the name, the others one part of it.
    parts = [re.escape(p) for p in pattern.split("{}")]
    last = len(parts) - 2
    marks = ["(.+)" if i == last else r"(\d+)" for i in range(len(parts) - 1)]
    return re.compile("".join(p + m for p, m in zip(parts, [*marks, ""], strict=True)))
