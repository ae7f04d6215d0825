"""Writing an adapted CLIP as a plain one that open_clip loads anywhere."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from ovs_core.clip.loading import model_config
from ovs_core.errors import UserError

from .adaptation import fold
from .model import CATSeg


def merge(model: CATSeg, path: Path) -> None:
    """Fold the adaptation into the weights and write them under open_clip's names.

    All blocks are merged. Dense features (value-only last image block) then equal the adapted
    model's. The pooled image feature uses the adapted last block too, which released H-CLIP leaves
    out there.

    Args:
        model: the adapted model; its CLIP is a plain one afterwards.
        path: a ``.safetensors`` file.

    Raises:
        UserError: for another file type, or an adaptation that cannot be folded.
    """
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: give a file name that ends with .safetensors")
    fold(model.adaptation, model.clip)
    state = {n: t.detach().cpu().contiguous() for n, t in model.clip.model.state_dict().items()}
    quick = bool(model_config(model.clip.architecture).get("quick_gelu", False))
    metadata = {
        "format": "pt",
        "architecture": model.clip.architecture,
        "quick_gelu": str(quick).lower(),
        "merged": model.finetune.mode,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata=metadata)
