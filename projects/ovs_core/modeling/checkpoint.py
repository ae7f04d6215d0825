"""What a checkpoint holds and how a model takes it: own ones strictly, published ones renamed.

A file is a dict that ``torch.load(weights_only=True)`` reads: ``format`` (``"ovsuite"``),
``architecture`` (meta-architecture), ``clip`` (identity), ``model`` (name -> tensor), ``digests``
(of each tensor), ``chosen_on`` (datasets by whose figures the weights were chosen) where there are
any, and in checkpoints of a run also ``trainer`` and ``scheduler`` states and
``iteration``. It holds what was trained, and the CLIP too if that came with a checkpoint and could
not be found again otherwise. The same as safetensors, for sharing: ``shared_file``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..clip import CARRIED, CLIP
from ..clip.identity import ClipIdentity, fingerprint
from ..clip.weight_files import read_torch_file, read_weight_file
from ..errors import UserError
from ..files.weights_folder import find_in_weights_folder
from ..load_report import LoadReport, find_tensors, is_plain, load_weights
from ..tensor.sharded import whole
from .contract import OpenVocabularyModel
from .shared_file import FORMAT, shared_content

logger = logging.getLogger(__name__)

ENOUGH = 0.95  # share of the trained tensors that a published checkpoint must give


def check_checkpoint_file(path: str | Path) -> None:
    """Refuse a file that is not there, nor in the weights folder.

    Raises:
        UserError: names the file.
    """
    if not find_in_weights_folder(path).is_file():
        raise UserError(f"{path}: no such checkpoint; check MODEL.WEIGHTS")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint without running anything in it.

    Args:
        path: the file; one that is not there is looked for in the weights folder.

    Raises:
        UserError: if the file is missing, truncated, or would run code.
    """
    path = find_in_weights_folder(path)
    check_checkpoint_file(path)
    if path.suffix == ".safetensors":
        return shared_content(read_weight_file(path), path)
    data = read_torch_file(path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds a {type(data).__name__}, not a checkpoint")
    return data


def checkpoint_content(model: OpenVocabularyModel) -> dict[str, Any]:
    """Collect what a checkpoint of a model holds; the states of a run come beside it.

    Tensors are whole; where they are shared out over processes, all must ask at once.
    """
    tensors = whole(trained_state(model))
    if model.clip.identity.pretrained == CARRIED:
        tensors |= clip_state(model, model.clip)
    return {
        "format": FORMAT,
        "architecture": type(model).__name__,
        "clip": model.clip.identity.record(),
        "model": tensors,
        "digests": {name: fingerprint({name: tensor}) for name, tensor in tensors.items()},
        **({"chosen_on": list(model.chosen_on)} if model.chosen_on else {}),
    }


def load_checkpoint(
    model: OpenVocabularyModel, data: Mapping[str, Any], path: str | Path
) -> LoadReport:
    """Load a checkpoint of the suite, or a published one that the method can rename.

    Args:
        model: the model that the config builds.
        data: content of the file.
        path: the file, for messages.

    Returns:
        What was used, missing, unexpected and of other shape.

    Raises:
        UserError: if it belongs to another model or another CLIP.
    """
    if data.get("format") != FORMAT:
        return load_published(model, data, path)
    check_content(data, path)
    architecture = type(model).__name__
    if data["architecture"] != architecture:
        raise UserError(
            f"{path}: holds a {data['architecture']}, but the config builds a {architecture}; "
            "use the config that it was trained with"
        )
    model.chosen_on = tuple(data.get("chosen_on", ()))
    return load_trained(
        model,
        data["model"],
        clip=model.clip,
        recorded=data["clip"],
        source=path,
        owner="this config",
        mend="use the config that it was trained with",
    )


def check_content(
    data: Mapping[str, Any], path: str | Path, more: Mapping[str, type] | None = None
) -> None:
    """Refuse a checkpoint of the suite that lacks a part, or whose tensors are not as written.

    Args:
        data: content of the file. Checkpoints of version 0.1 have no digests.
        path: the file, for messages.
        more: what is needed beside the model: name of the part -> its type.

    Raises:
        UserError: names the part or the tensor.
    """
    kinds = {"architecture": str, "clip": Mapping, "model": Mapping, **(more or {})}
    if "digests" in data:
        kinds["digests"] = Mapping
    if "chosen_on" in data:
        kinds["chosen_on"] = list
    for part, kind in kinds.items():
        if not isinstance(data.get(part), kind):
            raise UserError(f"{path}: its part '{part}' is missing or damaged; use another file")
    for name, tensor in data["model"].items():
        if not isinstance(name, str) or not is_plain(tensor):
            raise UserError(
                f"{path}: {name} in its part 'model' is no plain tensor; use another file"
            )
    for name, stated in data.get("digests", {}).items():
        tensor = data["model"].get(name)  # the matcher names those that are missing
        if tensor is not None and fingerprint({name: tensor}) != stated:
            raise UserError(f"{path}: {name} is not what was written; the file is damaged")
    for field in fields(ClipIdentity):
        if not isinstance(data["clip"].get(field.name), str):
            raise UserError(f"{path}: its part 'clip' has no {field.name}; use another file")


def load_trained(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    clip: CLIP,
    recorded: Mapping[str, str],
    source: str | Path,
    owner: str,
    mend: str,
) -> LoadReport:
    """Load what a run trained into a module that stands on the same CLIP.

    Args:
        module: a model, or the part of one that is taken over.
        tensors: all that the checkpoint has for it.
        clip: the CLIP inside the module.
        recorded: identity of the CLIP that the checkpoint stands on. If the checkpoint carries that
            CLIP, it takes the place of the loaded one.
        source: the checkpoint, for messages.
        owner: what the module is to the person, for messages.
        mend: what the person can do if the tensors do not fit.

    Returns:
        What was used.

    Raises:
        UserError: if the checkpoint stands on another CLIP, or does not match tensor by tensor.
    """
    needed = trained_state(module)
    carried = recorded["pretrained"] == CARRIED
    if carried:
        needed |= clip_state(module, clip)
    else:
        clip.identity.check(recorded, str(source))
    report = load_weights(module, tensors, source=source, owner=owner, mend=mend, needed=needed)
    if carried:
        clip.renew_identity(CARRIED)
    return report


def load_published(
    model: OpenVocabularyModel, data: Mapping[str, Any], path: str | Path
) -> LoadReport:
    """Load weights that another code base published, through the method's own key map.

    If they hold another CLIP than the loaded one, the model stands on theirs from then on.

    Args:
        model: whose ``rename_published`` maps the names.
        data: the file's content: a state dict, maybe under ``model`` or ``state_dict``.
        path: the file, for messages.

    Returns:
        What was used, missing, unexpected and of other shape.

    Raises:
        UserError: if the method has no key map, or the tensors do not fit.
    """
    tensors = find_tensors(data, path)
    try:
        renamed = model.rename_published(tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    trained, state = trained_state(model), model.state_dict()
    frozen = clip_state(model, model.clip).keys() - trained.keys()
    other_clip = any(_differ(renamed[n], state[n]) for n in frozen & renamed.keys())
    report = load_weights(
        model,
        renamed,
        source=path,
        owner=f"this config's {type(model).__name__} on CLIP {model.clip.architecture}",
        mend="choose the config that the weights were trained with",
        needed=trained,
        known=state,
        enough=None if model.published_whole else ENOUGH,
    )
    if other_clip:
        model.clip.renew_identity(CARRIED)
        logger.info("%s: its CLIP took the place of the loaded one", path)
    return report


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Collect what a checkpoint must hold.

    Args:
        model: any module.

    Returns:
        Name -> tensor of every trained parameter (a shared one once), and of the persistent buffers
        of modules that train something; and of the frozen parts that the model ``keeps``.
    """
    state = model.state_dict()
    keeps = model.keeps if isinstance(model, OpenVocabularyModel) else ()
    kept = {name: value for name, value in state.items() if name.startswith(keeps)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kept[name] = state[name]
    for prefix, module in model.named_modules():
        if not any(p.requires_grad for p in module.parameters(recurse=False)):
            continue
        for name, _ in module.named_buffers(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            if full in state:  # non-persistent buffers are not
                kept[full] = state[full]
    return kept


def clip_state(module: nn.Module, clip: CLIP) -> dict[str, Tensor]:
    """Collect every tensor of the CLIP inside a module, under the module's names."""
    place = next(name for name, part in module.named_modules() if part is clip)
    return {n: t for n, t in module.state_dict().items() if n.startswith(f"{place}.")}


def _differ(new: Tensor, old: Tensor) -> bool:
    return new.shape == old.shape and not torch.equal(new.to(old), old)
