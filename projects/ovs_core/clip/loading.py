"""Getting a CLIP: by open_clip name, from a file, or the embedded one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import try_to_load_from_cache
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from torch import nn

from ..errors import UserError, nearest
from ..load_report import load_weights
from .architectures import (
    EMBEDDED,
    EMBEDDED_DIR,
    ModelConfig,
    build_model,
    check_activation,
    fitting_architectures,
    model_config,
)
from .file_memory import check_file
from .identity import RANDOM
from .model import CLIP
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
            ``embedded-convnext`` (shipped with the suite), or the path of an open_clip model
            configuration (``.json``).
        pretrained: open_clip tag such as ``openai``; path of a ``.safetensors``, ``.pt`` state dict
            or OpenAI archive; ``random`` for untrained weights of these shapes (benchmarks, tests).
            The embedded CLIPs need none.
        cache_dir: where open_clip keeps downloaded weights.
        device: where the model goes.
        seed: of the random weights.

    Returns:
        The CLIP; parameters require no gradient.

    Raises:
        UserError: for an unknown name or tag, a file that is missing, damaged, of other shapes or
            would run code, and for weights whose activation differs from the architecture's.
    """
    pretrained = pretrained or _embedded_file(architecture)
    config = model_config(architecture)
    if pretrained == RANDOM:
        model = _random_model(config, seed)
    elif _is_path(pretrained):
        model = _from_file(architecture, config, Path(pretrained))
    else:
        model = _from_tag(architecture, config, pretrained, cache_dir)
    model.eval().requires_grad_(False)
    published = get_pretrained_cfg(architecture, pretrained) or {}
    clip = CLIP(
        model,
        build_tokenizer(architecture, config),
        architecture=architecture,
        pretrained=pretrained,
        pixel_mean=tuple(published.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        pixel_std=tuple(published.get("std") or open_clip.OPENAI_DATASET_STD),
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
    pretrained = pretrained or _embedded_file(architecture)
    model_config(architecture)
    if pretrained == RANDOM:
        return
    if _is_path(pretrained):
        check_weight_file(pretrained)
    else:
        _published(architecture, pretrained)


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
    pretrained = pretrained or _embedded_file(architecture)
    if _is_path(pretrained):
        return Path(pretrained) if Path(pretrained).is_file() else None
    published = get_pretrained_cfg(architecture, pretrained) or {}
    repository, _, file = published.get("hf_hub", "").rpartition("/")
    # As open_clip does: a folder stands for its usual file, and safetensors come first.
    safe = str(Path(file).with_suffix(".safetensors")) if file else HF_SAFE_WEIGHTS_NAME
    names = [safe, file or HF_WEIGHTS_NAME] if repository else []
    found = [try_to_load_from_cache(repository, name, cache_dir) for name in names]
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _embedded_file(architecture: str) -> str:
    if architecture not in EMBEDDED:
        return ""
    return str(EMBEDDED_DIR / f"{EMBEDDED[architecture]}.safetensors")


def _is_path(pretrained: str) -> bool:
    return bool(Path(pretrained).suffix) or "/" in pretrained


def _random_model(config: ModelConfig, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(config)


def _from_tag(architecture: str, config: ModelConfig, tag: str, cache_dir: str | None) -> nn.Module:
    published = _published(architecture, tag)
    quick = bool(published.get("quick_gelu", False))
    check_activation(architecture, config, weights_quick=quick, source=tag)
    try:
        path = open_clip.download_pretrained(published, cache_dir=cache_dir)
    except Exception as error:  # hub clients raise many types; the person needs one message
        raise UserError(
            f"weights '{tag}' of {architecture} could not be fetched ({type(error).__name__}: "
            f"{error}). Without a network, put the file on disk and give its path in "
            "MODEL.CLIP.PRETRAINED"
        ) from error
    return _from_file(architecture, config, Path(path))


def _published(architecture: str, tag: str) -> dict[str, Any]:
    tags = list_pretrained_tags_by_model(architecture)
    if not tag:
        raise UserError(
            f"MODEL.CLIP.PRETRAINED is empty, and {architecture} ships no weights; give one of "
            f"{', '.join(tags) or 'no published tag'}, a file, or '{RANDOM}' for untrained weights"
        )
    published = get_pretrained_cfg(architecture, tag)
    if not published:
        raise UserError(
            f"MODEL.CLIP.PRETRAINED: '{tag}' is neither a file nor a tag of {architecture}."
            f"{nearest(tag, tags)} Tags: {', '.join(tags) or 'none'}"
        )
    return dict(published)


def _from_file(architecture: str, config: ModelConfig, path: Path) -> nn.Module:
    file = read_weight_file(path)
    check_file(path)
    stated = file.metadata.get("quick_gelu")
    if file.is_openai_archive or stated is not None:
        quick = file.is_openai_archive or stated == "true"
        check_activation(architecture, config, weights_quick=quick, source=str(path))
    model = build_model(config)
    state = model.state_dict()
    try:
        load_weights(
            model,
            {k: v for k, v in file.tensors.items() if k in state or k not in _OPTIONAL},
            source=path,
            owner=f"CLIP {architecture}",
            mend="set MODEL.CLIP.ARCHITECTURE to that of the weights",
            needed={k: v for k, v in state.items() if k not in _OPTIONAL},
            known=state,
        )
    except UserError as error:
        fitting = fitting_architectures(file.tensors)
        raise UserError(f"{error}, {' or '.join(fitting)}" if fitting else f"{error}") from error
    return model
