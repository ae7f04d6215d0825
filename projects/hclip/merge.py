"""Writing an adapted CLIP as a plain one that open_clip loads anywhere."""

from __future__ import annotations

from pathlib import Path

from ovs_core.clip.architectures import model_config
from ovs_core.errors import UserError
from ovs_core.files.writing import save_safetensors

from .adaptation import fold_into_clip
from .model import CATSeg


def merge(model: CATSeg, path: Path) -> None:
    """Fold the adaptation into the weights and write them under open_clip's names.

    All blocks are merged. Dense features (value-only last image block) then equal the adapted
    model's. The pooled image feature uses the adapted last block too, which released H-CLIP leaves
    out there.

    Args:
        model: the adapted model; its CLIP is a plain one afterwards.
        path: a ``.safetensors`` file that does not exist.

    Raises:
        UserError: for another file type, a file that exists, or an adaptation that cannot be
            folded.
    """
    check_target(path)
    fold_into_clip(model.adaptation, model.clip)
    state = {n: t.detach().cpu().contiguous() for n, t in model.clip.model.state_dict().items()}
    quick = bool(model_config(model.clip.architecture).get("quick_gelu", False))
    metadata = {
        "format": "pt",
        "architecture": model.clip.architecture,
        "quick_gelu": str(quick).lower(),
        "merged": model.adaptation.mode,
    }
    save_safetensors(path, state, metadata)


def check_target(path: Path) -> None:
    """Refuse a file that ``merge`` would not write.

    Raises:
        UserError: for another file type, or a file that exists.
    """
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: give a file name that ends with .safetensors")
    if path.exists():
        raise UserError(f"{path}: exists already; choose another name, or delete it first")
