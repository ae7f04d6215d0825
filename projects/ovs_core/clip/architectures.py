"""Architectures: their configurations, untrained models of them, and which weights fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor, nn

from ..errors import UserError, nearest
from ..files.json_files import parse_json
from . import small_convnext  # noqa: F401  (registers the embedded tower with timm)
from .local_folders import folder_of, read_clip_folder

EMBEDDED_DIR = Path(__file__).resolve().parent / "embedded"
EMBEDDED = {"embedded-vit": "vit", "embedded-convnext": "convnext"}

ModelConfig = Mapping[str, Any]  # open_clip's own JSON: embed_dim, vision_cfg, text_cfg, ...


def model_config(architecture: str) -> ModelConfig:
    """Find the open_clip model configuration of an architecture.

    Args:
        architecture: as for ``load_clip``.

    Raises:
        UserError: if there is none of that name, or the file holds none.
    """
    if architecture in EMBEDDED:
        return _read_config(EMBEDDED_DIR / f"{EMBEDDED[architecture]}.json")
    if architecture.endswith(".json"):
        return _read_config(Path(architecture))
    if (folder := folder_of(architecture)) is not None:
        return read_clip_folder(folder).config
    config: ModelConfig | None = open_clip.get_model_config(architecture)
    if config is None:
        names = [*EMBEDDED, *open_clip.list_models()]
        raise UserError(
            f"MODEL.CLIP.ARCHITECTURE: unknown name '{architecture}'."
            f"{nearest(architecture, names)} open_clip.list_models() lists all"
        )
    return config


def build_model(config: ModelConfig) -> nn.Module:
    """Build an open_clip model from its configuration, without weights."""
    settings = {k: v for k, v in config.items() if k != "custom_text"}
    settings["text_cfg"] = {k: v for k, v in settings["text_cfg"].items() if k != "bpe_file"}
    if "hf_model_name" in settings["text_cfg"]:
        settings["text_cfg"]["hf_model_pretrained"] = False
    if "timm_model_name" in settings["vision_cfg"]:
        settings["vision_cfg"] = {**settings["vision_cfg"], "timm_model_pretrained": False}
    custom = config.get("custom_text") or "hf_model_name" in settings["text_cfg"]
    model: nn.Module = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**settings)
    return model


def check_activation(
    architecture: str, config: ModelConfig, *, weights_quick: bool, source: str
) -> None:
    """Refuse weights that were trained with another activation than the architecture computes.

    Args:
        architecture: as for ``load_clip``.
        config: its model configuration.
        weights_quick: whether the weights were trained with quick-GELU.
        source: the weights, for the message.

    Raises:
        UserError: if the activations differ; it names the architecture that fits.
    """
    if bool(config.get("quick_gelu", False)) == weights_quick:
        return
    base = architecture.removesuffix("-quickgelu")
    wanted = f"{base}-quickgelu" if weights_quick else base
    kinds = ("quick-GELU", "GELU") if weights_quick else ("GELU", "quick-GELU")
    raise UserError(
        f"{source}: these weights were trained with {kinds[0]}, but {architecture} computes "
        f"{kinds[1]}; set MODEL.CLIP.ARCHITECTURE to {wanted}"
    )


def fitting_architectures(tensors: Mapping[str, Tensor]) -> list[str]:
    """Name the open_clip architectures whose ViT sizes fit a state dict; empty for other towers."""
    sizes = _vit_sizes(tensors)
    if sizes is None:
        return []
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    return [name for name, config in configs.items() if _stated_sizes(config) == sizes]


def _read_config(path: Path) -> ModelConfig:
    try:
        config = parse_json(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no readable model configuration ({error})") from error
    config = config.get("model_cfg", config)
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - config.keys()
    if missing:
        raise UserError(f"{path}: lacks {', '.join(sorted(missing))} of an open_clip configuration")
    return dict(config)


def _stated_sizes(config: ModelConfig) -> tuple[int, ...] | None:
    """Width, blocks, patch side, joint width and patches of a ViT with open_clip's text tower."""
    vision = config["vision_cfg"]
    side, patch = vision.get("image_size"), vision.get("patch_size")
    other_text = "hf_model_name" in config["text_cfg"] or "multimodal_cfg" in config
    if other_text or not isinstance(side, int) or not isinstance(patch, int):
        return None
    return (
        vision.get("width"),
        vision.get("layers"),
        patch,
        config["embed_dim"],
        (side // patch) ** 2,
    )


def _vit_sizes(tensors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """The sizes of ``_stated_sizes`` as a state dict shows them."""
    needed = ("visual.conv1.weight", "visual.positional_embedding", "visual.proj")
    if not all(name in tensors for name in needed):
        return None
    conv, table, projection = (tensors[name] for name in needed)
    if conv.dim() != 4 or table.dim() != 2 or projection.dim() != 2:
        return None
    blocks = {k.split(".")[3] for k in tensors if k.startswith("visual.transformer.resblocks.")}
    return conv.shape[0], len(blocks), conv.shape[-1], projection.shape[1], table.shape[0] - 1
