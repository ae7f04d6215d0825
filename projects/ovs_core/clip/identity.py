"""Which CLIP a model stands on: recorded in checkpoints, part of the key of every text cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..errors import UserError

RANDOM = "random"
CARRIED = "checkpoint"

_PARAMETRIZATION = re.compile(r"(.*?)parametrizations\.(\w+)\.(.+)")


@dataclass(frozen=True)
class ClipIdentity:
    """What tells one CLIP from another.

    Attributes:
        architecture: name that the model was built from.
        pretrained: where its weights came from: a tag, a file, ``random``, or ``checkpoint`` if
            they came in with a checkpoint, so that the next one must carry them on.
        text_fingerprint: hash of the text tower's weights.
    """

    architecture: str
    pretrained: str
    text_fingerprint: str

    def record(self) -> dict[str, str]:
        """Give what a checkpoint keeps: field name -> value."""
        return asdict(self)

    def check(self, recorded: Mapping[str, str], source: str) -> None:
        """Refuse a checkpoint that stands on another CLIP.

        Args:
            recorded: ``record`` of the CLIP that the checkpoint was trained on.
            source: the checkpoint, for the message.

        Raises:
            UserError: if the text towers differ.
        """
        if recorded["text_fingerprint"] != self.text_fingerprint:
            raise UserError(
                f"{source}: was trained on CLIP {recorded['architecture']} "
                f"({recorded['pretrained']}), but the config loads {self.architecture} "
                f"({self.pretrained}) with other weights; set MODEL.CLIP accordingly"
            )


def text_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Collect the text tower's weights under the names that they have where nothing adapts them.

    Args:
        model: an open_clip model, maybe with parametrized weights.

    Returns:
        Name -> tensor; of a parametrized weight, the one that the parametrization starts from.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        adapted = _PARAMETRIZATION.fullmatch(name)
        if name.startswith(("visual.", "logit_")) or (adapted and adapted[3] != "original"):
            continue
        found[f"{adapted[1]}{adapted[2]}" if adapted else name] = tensor
    return found


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors by name, shape, type and content.

    Args:
        tensors: name -> tensor of any shape, type and device.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
