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

from ..runner import Arrays, ParityCase, Tolerance, largest_entry, stated
from ..tolerances import is_exact

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
    """Floats as the file states; label maps exact wherever the file calls a pixel safe."""
    if name.rpartition(".")[2] == "safe":
        return Tolerance(skip="says which pixels of other arrays are compared")
    if is_exact(references[name]):
        prefix = name.rpartition(".")[0]
        safe = references.get(f"{prefix}.safe")
        if safe is not None and safe.shape == references[name].shape and safe.dtype == bool:
            return Tolerance(where=safe)
        return Tolerance()
    return _floats(case, name, references)


def _floats(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Read ``atol A + rtol R``, ``A on sem_seg, B elsewhere`` or one figure for all."""
    key = "pixels" if "pixels" in case.meta["tolerance"] else "float"
    text, figures = str(case.meta["tolerance"][key]), stated(case, "tolerance", key)
    if "rtol" in text:
        return Tolerance(atol=figures[0], rtol=figures[1])
    if not name.endswith("sem_seg"):
        return Tolerance(atol=figures[-1])
    # Stated for values of tens to hundreds; single precision resolves larger ones less finely.
    return Tolerance(atol=figures[0] * max(1.0, largest_entry(references[name]) / 1000))


def probability_tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """As elsewhere; probabilities within the file's own bound for them."""
    if name.rpartition(".")[2] in ("probs", "first_probs"):
        return Tolerance(atol=stated(case, "tolerance", "probs")[0])
    return tolerance(case, name, references)


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
