"""Getting a CLIP: by open_clip name, from a file, or the embedded one."""

from __future__ import annotations

from pathlib import Path

import torch
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from torch import nn

from ..errors import UserError, nearest
from ..load_report import load_weights
from .architectures import (
    ModelConfig,
    build_model,
    check_activation,
    fitting_architectures,
    model_config,
)
from .fetching import fetch_published
from .file_memory import check_file
from .identity import RANDOM
from .local_folders import folder_of, read_clip_folder
from .lookup import ClipSource, find_source, is_tag, pixel_statistics
from .model import CLIP
from .renaming import to_open_clip
from .tokenizer import build_tokenizer
from .weight_files import check_weight_file, read_weight_file

# What some files keep and some models have, and neither needs.
_OPTIONAL = ("logit_bias", "attn_mask")


def load_clip(
    architecture: str,
    pretrained: str = "",
    *,
    cache_dir: str | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> CLIP:
    """Load a CLIP in float32, in eval mode.

    Args:
        architecture: open_clip name such as ``ViT-B-16-quickgelu``, ``embedded-vit`` or
            ``embedded-convnext`` (shipped with the suite), the path of an open_clip model
            configuration (``.json``), or ``local-dir:FOLDER`` for what a folder of open_clip or
            ``transformers`` says.
        pretrained: open_clip tag such as ``openai``; path of a ``.safetensors``, ``.pt`` state dict
            or training checkpoint, OpenAI archive, or a folder, also below the weights folder
            (``OVS_WEIGHTS``), in the names of open_clip, ``transformers`` (CLIP, SigLIP) or Apple
            (MobileCLIP); ``random`` for untrained weights of these shapes (benchmarks, tests). The
            embedded CLIPs and ``local-dir:`` need none.
        cache_dir: where open_clip keeps downloaded weights.
        device: where the model goes.
        seed: of the random weights.

    Returns:
        The CLIP; parameters require no gradient.

    Raises:
        UserError: for an unknown name or tag, a file that is missing, damaged, of other shapes or
            would run code, and for weights whose activation differs from the architecture's.
    """
    config = model_config(architecture)
    tokenizer = build_tokenizer(architecture, config)  # first: it may not be here
    if pretrained == RANDOM:
        about, model = None, _random_model(config, seed)
    else:
        source = _source(architecture, config, pretrained, cache_dir)
        pretrained = pretrained or str(source.file)
        about, model = source.folder, _from_file(architecture, config, source)
    model.eval().requires_grad_(False)
    if about is None and (folder := folder_of(architecture)) is not None:
        about = read_clip_folder(folder)
    mean, std = pixel_statistics(architecture, pretrained, about)
    clip = CLIP(
        model,
        tokenizer,
        architecture=architecture,
        pretrained=pretrained,
        pixel_mean=mean,
        pixel_std=std,
    )
    return clip.to(device)


def check_weights(architecture: str, pretrained: str = "") -> None:
    """Refuse what ``load_clip`` would refuse without reading or fetching weights.

    Args:
        architecture: as for ``load_clip``.
        pretrained: as for ``load_clip``.

    Raises:
        UserError: for an unknown name or tag, or a file that is missing.
    """
    model_config(architecture)
    if pretrained != RANDOM:
        _find(architecture, pretrained)


def find_weights(
    architecture: str, pretrained: str = "", cache_dir: str | None = None
) -> Path | None:
    """Say where the weights lie that ``load_clip`` would read, if they are on this disk.

    Args:
        architecture: as for ``load_clip``.
        pretrained: as for ``load_clip``, but not ``random``.
        cache_dir: where open_clip keeps downloaded weights.

    Returns:
        The file, or None if ``load_clip`` would have to fetch it.
    """
    source = find_source(architecture, pretrained, cache_dir)
    return None if source is None else source.file


def _random_model(config: ModelConfig, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(config)


def _source(
    architecture: str, config: ModelConfig, pretrained: str, cache_dir: str | None
) -> ClipSource:
    """Find the weights, or fetch them."""
    source = _find(architecture, pretrained, cache_dir)
    if published := get_pretrained_cfg(architecture, pretrained):
        quick = bool(published.get("quick_gelu", False))
        check_activation(architecture, config, weights_quick=quick, source=pretrained)
    return source or ClipSource(fetch_published(architecture, pretrained, cache_dir))


def _find(architecture: str, pretrained: str, cache_dir: str | None = None) -> ClipSource | None:
    """Find the weights; None for published ones that are not here."""
    source = find_source(architecture, pretrained, cache_dir)
    if source is not None or get_pretrained_cfg(architecture, pretrained):
        return source
    tags = list_pretrained_tags_by_model(architecture)
    if not pretrained:
        raise UserError(
            f"MODEL.CLIP.PRETRAINED is empty, and {architecture} ships no weights; give one of "
            f"{', '.join(tags) or 'no published tag'}, a file, or '{RANDOM}' for untrained weights"
        )
    if not is_tag(architecture, pretrained):
        check_weight_file(pretrained)
    raise UserError(
        f"MODEL.CLIP.PRETRAINED: '{pretrained}' is neither a file nor a tag of {architecture}."
        f"{nearest(pretrained, tags)} Tags: {', '.join(tags) or 'none'}"
    )


def _from_file(architecture: str, config: ModelConfig, source: ClipSource) -> nn.Module:
    path, file = source.file, read_weight_file(source.file)
    check_file(path, sha256=source.sha256)
    stated = file.metadata.get("quick_gelu")
    if file.is_openai_archive or stated is not None:
        quick = file.is_openai_archive or stated == "true"
        check_activation(architecture, config, weights_quick=quick, source=str(path))
    elif source.folder is not None:
        quick = bool(source.folder.config.get("quick_gelu", False))
        check_activation(architecture, config, weights_quick=quick, source=str(path))
    model = build_model(config)
    state = model.state_dict()
    tensors = to_open_clip(file.tensors, model)
    try:
        load_weights(
            model,
            {k: v for k, v in tensors.items() if k in state or k not in _OPTIONAL},
            source=path,
            owner=f"CLIP {architecture}",
            mend="set MODEL.CLIP.ARCHITECTURE to that of the weights",
            needed={k: v for k, v in state.items() if k not in _OPTIONAL},
            known=state,
        )
    except UserError as error:
        fitting = fitting_architectures(tensors)
        raise UserError(f"{error}, {' or '.join(fitting)}" if fitting else f"{error}") from error
    return model
