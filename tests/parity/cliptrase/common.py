"""Building the tiny models of reference files, and how closely results must agree."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cliptrase.model import CLIPtrase
from cliptrase.scoring import CosineScorer
from ovs_core.clip import CLIP, PositionRule, load_clip
from ovs_core.words.vocabulary import Vocabulary

from ..runner import Arrays, ParityCase, Tolerance

Results = dict[str, "np.ndarray | Tensor"]
POSITIONS = PositionRule(offset=0.1, keep_same_count=True)
TINY_VISUAL = {
    "input_resolution": 16,
    "patch_size": 16,
    "width": 16,
    "layers": 2,
    "heads": 2,
    "output_dim": 8,
}
TINY_TEXT = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}


def tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Floats within 2e-5 + 1e-4 relative; label maps exact wherever the file calls a pixel safe."""
    if name.rpartition(".")[2] == "safe":
        return Tolerance(skip="says which pixels of other arrays are compared")
    if not np.issubdtype(references[name].dtype, np.inexact):
        prefix = name.rpartition(".")[0]
        safe = references.get(f"{prefix}.safe")
        if safe is not None and safe.shape == references[name].shape and safe.dtype == bool:
            return Tolerance(where=safe)
        return Tolerance()
    return Tolerance(atol=2e-5, rtol=1e-4)


def tiny_clip(model: dict[str, Any], weights: dict[str, Tensor], **text: Any) -> CLIP:
    """Build a CLIP around the tower of a reference file.

    Args:
        model: ``input_resolution``, ``patch_size``, ``width``, ``layers``, ``heads``,
            ``output_dim``.
        weights: state dict of the parts that the file holds.
        text: entries of open_clip's ``text_cfg``.
    """
    config = {
        "embed_dim": model["output_dim"],
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": model["input_resolution"],
            "patch_size": model["patch_size"],
            "width": model["width"],
            "layers": model["layers"],
            "head_width": model["width"] // model["heads"],
        },
        "text_cfg": {**TINY_TEXT, **text},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.json"
        path.write_text(json.dumps(config))
        clip = load_clip(str(path), "random")
    _, unexpected = clip.model.load_state_dict(weights, strict=False)
    if unexpected:
        raise ValueError(f"weights that the tower does not have: {unexpected}")
    return clip


class _GivenText(CLIPtrase):
    """A model whose class embeddings come from the file."""

    given: Tensor

    def text_features(self) -> Tensor:
        return self.given


def segmenter(
    clip: CLIP, text_features: Tensor, *, num_background: int = 0, **arguments: Any
) -> CLIPtrase:
    """Build a model with given text features, the last of which stand for the background."""
    model = _GivenText(clip=clip, templates=["{}"], **arguments).eval()
    model.given = text_features
    named = len(text_features) - num_background
    words = [f"word {i}" for i in range(num_background)]
    model.set_vocabulary(
        Vocabulary.from_names([f"class {i}" for i in range(named)], background_words=words)
    )
    return model


def cosine_scorer(case: ParityCase, **options: Any) -> CosineScorer:
    """Give the scaled cosines of a reference file."""
    return CosineScorer(float(np.exp(case.meta["logit_scale_log"])), **options)
