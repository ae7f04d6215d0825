"""Taking an adapted CLIP out of the checkpoint of a run on mosaics, or of a segmentation run."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ovs_core.clip import CLIP, fingerprint
from ovs_core.errors import UserError
from ovs_core.modeling.checkpoint import check_content, load_trained, read_checkpoint
from ovs_core.modeling.shared_file import FORMAT

from ..adaptation import Adaptation

_PREFIXES = ("clip.", "adaptation.")


def check_source(mode: str, path: str) -> None:
    """Refuse a fine-tuned CLIP without a checkpoint, and a checkpoint for a frozen one.

    Args:
        mode: value of ``MODEL.CATSEG.FINETUNE``.
        path: value of ``MODEL.HCLIP_DET.ADAPTED``.
    """
    if mode == "freeze" and path:
        raise UserError(
            "MODEL.HCLIP_DET.ADAPTED is given, but MODEL.CATSEG.FINETUNE freeze adapts nothing; "
            "set FINETUNE to what the checkpoint was trained with"
        )
    if mode != "freeze" and not path:
        raise UserError(
            f"MODEL.HCLIP_DET.ADAPTED is empty, and without it FINETUNE {mode} is the unchanged "
            "CLIP; give the checkpoint of a run with the same FINETUNE (for example of "
            "hclip/detection/mosaic_vitb16_hclip or hclip/vitb16), or set FINETUNE to freeze"
        )


def load_adaptation(clip: CLIP, adaptation: Adaptation, path: str) -> None:
    """Load what a segmentation run trained on CLIP's side; its decoder is left in the file.

    Args:
        clip: the CLIP, already changed by ``adaptation``. Its identity then names the checkpoint
            too: a detector's own checkpoint and cached text features belong to both.
        adaptation: made as in the run.
        path: checkpoint of the run.

    Raises:
        UserError: if the checkpoint is missing, of another kind, or stands on another CLIP.
    """
    if not Path(path).is_file():
        raise UserError(
            f"MODEL.HCLIP_DET.ADAPTED {path}: no such checkpoint; train a segmentation config "
            f"with FINETUNE {adaptation.mode} first, or name the checkpoint of such a run"
        )
    data = read_checkpoint(path)
    if data.get("format") != FORMAT:
        raise UserError(
            f"MODEL.HCLIP_DET.ADAPTED {path}: no checkpoint of this suite; a merged or other "
            "plain CLIP goes to MODEL.CLIP.PRETRAINED, with MODEL.CATSEG.FINETUNE freeze"
        )
    check_content(data, f"MODEL.HCLIP_DET.ADAPTED {path}")
    parts = nn.ModuleDict({"clip": clip, "adaptation": adaptation})  # named as in the run's model
    load_trained(
        parts,
        {k: v for k, v in data["model"].items() if k.startswith(_PREFIXES)},
        clip=clip,
        recorded=data["clip"],
        source=f"MODEL.HCLIP_DET.ADAPTED {path}",
        owner=f"an adaptation of FINETUNE {adaptation.mode} with these sizes",
        mend="set MODEL.CATSEG and MODEL.HCLIP as in the run that wrote it",
    )
    state = parts.state_dict().items()
    own = {name: t for name, t in state if not name.startswith("clip.model.visual.")}
    source = f"{clip.identity.pretrained}, adapted by {path}"
    clip.renew_identity(source, text_fingerprint=fingerprint(own))
