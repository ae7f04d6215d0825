"""The adapted CLIP that the detector stands on: loaded, frozen, read at several blocks.

Letters: B pictures, C tower width, D joint width, h x w grid of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ovs_core.clip import CLIP, ImageEncoder, fingerprint
from ovs_core.clip.attention import cls_residual_value_block, value_block
from ovs_core.errors import UserError, nearest
from ovs_core.modeling.checkpoint import FORMAT, load_trained, read_checkpoint

from ..finetune import FinetuneSettings, adapt
from ..once import StepClock

LAST_BLOCKS = {"cls": cls_residual_value_block, "token": value_block}
_PREFIXES = ("clip.", "adaptation.")


@dataclass(frozen=True)
class EncodedPictures:
    """What the detector reads from the encoder.

    Attributes:
        taps: (B, C, h, w) outputs of the chosen blocks, in their order.
        dense: (B, D, h, w) dense features in the joint space, not normalised.
    """

    taps: list[Tensor]
    dense: Tensor


class AdaptedEncoder(nn.Module):
    """A CLIP with its adaptation, frozen; its last image block keeps values only.

    Args:
        clip: the CLIP; changed by the adaptation.
        finetune: how it was adapted.
        adapted: checkpoint of the run that adapted it; "" for a CLIP that is used as it is.
        taps: image blocks whose outputs are given.
        last_block: residual of the last block, ``"cls"`` or ``"token"``.

    Raises:
        UserError: if the checkpoint is missing, of another kind, or stands on another CLIP.
    """

    def __init__(
        self,
        clip: CLIP,
        finetune: FinetuneSettings,
        *,
        adapted: str = "",
        taps: Sequence[int] = (3, 5, 7, 11),
        last_block: str = "cls",
    ) -> None:
        super().__init__()
        if last_block not in LAST_BLOCKS:
            raise UserError(
                f"MODEL.HCLIP_DET.LAST_BLOCK: '{last_block}' is none of {', '.join(LAST_BLOCKS)}."
                f"{nearest(last_block, LAST_BLOCKS)}"
            )
        self.clip = clip
        # In a tuple: the tower is registered once, in the CLIP.
        self._image_encoder = (ImageEncoder(clip.visual),)
        self.taps = tuple(self.image_encoder.block_index(i) for i in taps)
        self.last_block = LAST_BLOCKS[last_block]
        self.adaptation = adapt(clip, finetune, StepClock())
        _check_source(finetune.mode, adapted)
        if adapted:
            self._load(adapted, finetune.mode)
        self.requires_grad_(False).eval()

    @property
    def image_encoder(self) -> ImageEncoder:
        """The image tower, adapted."""
        return self._image_encoder[0]

    def train(self, mode: bool = True) -> AdaptedEncoder:
        """Stay in evaluation mode: nothing here is trained."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncodedPictures:
        """Encode (B, 3, H, W) normalised pictures."""
        encoder, last = self.image_encoder, self.image_encoder.num_blocks - 1
        tokens, grid = encoder.embed(images)
        tokens, kept = encoder.run_blocks(
            tokens,
            grid,
            taps={*self.taps, *self.adaptation.image_taps()},
            blocks={last: self.last_block},
            before=self.adaptation.edit_tokens,
        )
        tokens = self.adaptation.finish_image(tokens, kept)
        kept[last] = tokens
        dense = encoder.split(encoder.project(tokens), grid).patches
        return EncodedPictures([encoder.split(kept[i], grid).patches for i in self.taps], dense)

    def _load(self, path: str, mode: str) -> None:
        """Take the adaptation out of a segmentation checkpoint; its decoder is left there."""
        if not Path(path).is_file():
            raise UserError(
                f"MODEL.HCLIP_DET.ADAPTED {path}: no such checkpoint; train a segmentation config "
                f"with FINETUNE {mode} first, or name the checkpoint of such a run"
            )
        data = read_checkpoint(path)
        if data.get("format") != FORMAT:
            raise UserError(
                f"MODEL.HCLIP_DET.ADAPTED {path}: no checkpoint of this suite; a merged or other "
                "plain CLIP goes to MODEL.CLIP.PRETRAINED, with MODEL.CATSEG.FINETUNE freeze"
            )
        load_trained(
            self,
            {k: v for k, v in data["model"].items() if k.startswith(_PREFIXES)},
            clip=self.clip,
            recorded=data["clip"],
            source=f"MODEL.HCLIP_DET.ADAPTED {path}",
            owner=f"an adaptation of FINETUNE {mode} with these sizes",
            mend="set MODEL.CATSEG and MODEL.HCLIP as in the run that wrote it",
        )
        self._change_identity(path)

    def _change_identity(self, path: str) -> None:
        """Name what a detector stands on: its checkpoint and cached text features belong to it."""
        state = self.state_dict().items()
        own = {name: t for name, t in state if not name.startswith("clip.model.visual.")}
        source = f"{self.clip.identity.pretrained}, adapted by {path}"
        self.clip.renew_identity(source, text_fingerprint=fingerprint(own))


def _check_source(mode: str, adapted: str) -> None:
    if mode == "freeze" and adapted:
        raise UserError(
            "MODEL.HCLIP_DET.ADAPTED is given, but MODEL.CATSEG.FINETUNE freeze adapts nothing; "
            "set FINETUNE to what the checkpoint was trained with"
        )
    if mode != "freeze" and not adapted:
        raise UserError(
            f"MODEL.HCLIP_DET.ADAPTED is empty, and without it FINETUNE {mode} is the unchanged "
            "CLIP; give the checkpoint of a segmentation run with the same FINETUNE (for example "
            "of hclip/vitb16 or hclip/peft/vitb16_lora), or set FINETUNE to freeze"
        )
