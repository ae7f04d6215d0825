"""Getting a CLIP: by open_clip name, from a file, or the embedded one."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import open_clip
import torch
from huggingface_hub import try_to_load_from_cache
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from torch import Tensor, nn

from ..errors import UserError, nearest
from . import small_convnext  # noqa: F401  (registers the embedded tower with timm)
from .weight_files import WeightFile, read_weight_file

logger = logging.getLogger(__name__)

EMBEDDED_DIR = Path(__file__).resolve().parent / "embedded"
EMBEDDED = {"embedded-vit": "vit", "embedded-convnext": "convnext"}
RANDOM = "random"

Tokenizer = Callable[[list[str]], Tensor]


class CLIP(nn.Module):
    """An open_clip model with what is needed to feed it.

    Attributes:
        model: the unmodified open_clip model.
        tokenizer: list of strings -> (P, context length) token ids.
        architecture: name it was built from.
        pretrained: where its weights came from.
        pixel_mean, pixel_std: (3, 1, 1) RGB statistics in 0..255.
        text_fingerprint: hash of the text tower's weights as loaded.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        *,
        architecture: str,
        pretrained: str,
        pixel_mean: tuple[float, ...] = open_clip.OPENAI_DATASET_MEAN,
        pixel_std: tuple[float, ...] = open_clip.OPENAI_DATASET_STD,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.architecture = architecture
        self.pretrained = pretrained
        mean, std = torch.tensor(pixel_mean) * 255, torch.tensor(pixel_std) * 255
        self.register_buffer("pixel_mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", std.view(3, 1, 1), persistent=False)
        # Taken now: a method may adapt the tower later, and its checkpoint names what it stood on.
        names = [n for n in model.state_dict() if not n.startswith(("visual.", "logit_"))]
        self.text_fingerprint = fingerprint(model, names)

    @property
    def visual(self) -> nn.Module:
        """The image tower."""
        return self.model.visual

    @property
    def embed_dim(self) -> int:
        """Width D of the joint space."""
        visual = self.model.visual
        if hasattr(visual, "output_dim"):
            return int(visual.output_dim)
        # A timm tower does not say; the projection in its head does.
        linear = [m for m in visual.head.modules() if isinstance(m, nn.Linear)]
        return linear[-1].out_features

    @property
    def logit_scale(self) -> float:
        """The stored temperature, ``exp(logit_scale)``."""
        return float(self.model.logit_scale.detach().exp())

    def normalize(self, images: Tensor) -> Tensor:
        """Bring (B, 3, H, W) RGB pictures in 0..255 to CLIP's statistics, in float."""
        return (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std

    def identity(self) -> dict[str, str]:
        """What a checkpoint must record to find this CLIP again."""
        return {
            "architecture": self.architecture,
            "pretrained": self.pretrained,
            "text_fingerprint": self.text_fingerprint,
        }


def fingerprint(model: nn.Module, names: list[str] | None = None) -> str:
    """Hash tensors of a model by name, shape, type and content.

    Args:
        model: any module.
        names: state-dict keys to include; default all.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    state = model.state_dict()
    for name in sorted(state if names is None else names):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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
    if architecture in EMBEDDED and not pretrained:
        pretrained = str(EMBEDDED_DIR / f"{EMBEDDED[architecture]}.safetensors")
    config = model_config(architecture)
    if pretrained == RANDOM:
        model = _random_model(config, seed)
    elif Path(pretrained).suffix or "/" in pretrained:
        model = _from_file(architecture, config, Path(pretrained))
    else:
        model = _from_tag(architecture, config, pretrained, cache_dir)
    model.eval().requires_grad_(False)
    mean, std = _statistics(architecture, pretrained)
    clip = CLIP(
        model,
        build_tokenizer(architecture, config),
        architecture=architecture,
        pretrained=pretrained,
        pixel_mean=mean,
        pixel_std=std,
    )
    return clip.to(device)


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
    if architecture in EMBEDDED and not pretrained:
        return EMBEDDED_DIR / f"{EMBEDDED[architecture]}.safetensors"
    if Path(pretrained).suffix or "/" in pretrained:
        return Path(pretrained) if Path(pretrained).is_file() else None
    published = get_pretrained_cfg(architecture, pretrained) or {}
    repository, _, file = published.get("hf_hub", "").rpartition("/")
    # As open_clip does: a folder stands for its usual file, and safetensors come first.
    safe = str(Path(file).with_suffix(".safetensors")) if file else HF_SAFE_WEIGHTS_NAME
    names = [safe, file or HF_WEIGHTS_NAME] if repository else []
    found = [try_to_load_from_cache(repository, name, cache_dir) for name in names]
    return next((Path(path) for path in found if isinstance(path, str)), None)


def model_config(architecture: str) -> dict:
    """Find the open_clip model configuration of an architecture.

    Raises:
        UserError: if there is none of that name.
    """
    if architecture in EMBEDDED:
        return json.loads((EMBEDDED_DIR / f"{EMBEDDED[architecture]}.json").read_text())
    if architecture.endswith(".json"):
        return _config_file(Path(architecture))
    config = open_clip.get_model_config(architecture)
    if config is None:
        names = [*EMBEDDED, *open_clip.list_models()]
        raise UserError(
            "MODEL.CLIP.ARCHITECTURE: unknown name "
            f"'{architecture}'.{nearest(architecture, names)} "
            "open_clip.list_models() lists all"
        )
    return config


def build_tokenizer(architecture: str, config: Mapping) -> Tokenizer:
    """Make the tokenizer that belongs to an architecture.

    Args:
        architecture: as for ``load_clip``.
        config: its model configuration; ``text_cfg.bpe_file`` names a merges file beside the
            embedded configurations.
    """
    text = config["text_cfg"]
    if "bpe_file" in text:
        return open_clip.SimpleTokenizer(
            bpe_path=str(EMBEDDED_DIR / text["bpe_file"]), context_length=text["context_length"]
        )
    if architecture.endswith(".json"):
        return open_clip.SimpleTokenizer(context_length=text.get("context_length", 77))
    return open_clip.get_tokenizer(architecture)


def _config_file(path: Path) -> dict:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no readable model configuration ({error})") from error
    config = config.get("model_cfg", config)
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - config.keys()
    if missing:
        raise UserError(f"{path}: lacks {', '.join(sorted(missing))} of an open_clip configuration")
    return config


def _build(config: Mapping) -> nn.Module:
    """Build an open_clip model from its configuration, without weights."""
    settings = {k: v for k, v in config.items() if k != "custom_text"}
    settings["text_cfg"] = {k: v for k, v in settings["text_cfg"].items() if k != "bpe_file"}
    if "hf_model_name" in settings["text_cfg"]:
        settings["text_cfg"]["hf_model_pretrained"] = False
    if "timm_model_name" in settings["vision_cfg"]:
        settings["vision_cfg"] = {**settings["vision_cfg"], "timm_model_pretrained": False}
    custom = config.get("custom_text") or "hf_model_name" in settings["text_cfg"]
    return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**settings)


def _random_model(config: Mapping, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(config)


def _from_tag(architecture: str, config: Mapping, tag: str, cache_dir: str | None) -> nn.Module:
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
    _refuse_other_activation(architecture, config, bool(published.get("quick_gelu", False)), tag)
    try:
        path = open_clip.download_pretrained(published, cache_dir=cache_dir)
    except Exception as error:  # hub clients raise many types; the person needs one message
        raise UserError(
            f"weights '{tag}' of {architecture} could not be fetched ({type(error).__name__}: "
            f"{error}). "
            "Without a network, put the file on disk and give its path in MODEL.CLIP.PRETRAINED"
        ) from error
    return _from_file(architecture, config, Path(path))


def _from_file(architecture: str, config: Mapping, path: Path) -> nn.Module:
    file = read_weight_file(path)
    stated = file.metadata.get("quick_gelu")
    if file.is_openai_archive or stated is not None:
        quick = file.is_openai_archive or stated == "true"
        _refuse_other_activation(architecture, config, quick, str(path))
    model = _build(config)
    _load_strictly(model, file, architecture, path)
    return model


def _load_strictly(model: nn.Module, file: WeightFile, architecture: str, path: Path) -> None:
    expected = model.state_dict()
    tensors = {k: v.to(expected[k].dtype) if k in expected else v for k, v in file.tensors.items()}
    optional = {"logit_bias", "attn_mask"}
    missing = sorted(expected.keys() - tensors.keys() - optional)
    unexpected = sorted(tensors.keys() - expected.keys() - optional)
    shapes = [
        f"{k} {tuple(tensors[k].shape)} instead of {tuple(expected[k].shape)}"
        for k in expected.keys() & tensors.keys()
        if tensors[k].shape != expected[k].shape
    ]
    if missing or unexpected or shapes:
        raise UserError(
            f"{path}: weights of another architecture than {architecture}: "
            f"{_count('missing', missing)}, {_count('unexpected', unexpected)}, "
            f"{_count('of other shape', sorted(shapes))}.{_architecture_hint(file.tensors)}"
        )
    model.load_state_dict({k: v for k, v in tensors.items() if k in expected}, strict=False)
    logger.info("CLIP %s: all %d tensors loaded from %s", architecture, len(expected), path)


def _count(word: str, names: list[str]) -> str:
    return f"{len(names)} {word}" + (f" (first: {names[0]})" if names else "")


def _architecture_hint(tensors: Mapping[str, Tensor]) -> str:
    """Name the open_clip architectures whose ViT sizes fit a state dict."""
    sizes = _vit_sizes(tensors)
    if sizes is None:
        return ""
    fitting = []
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        vision = config["vision_cfg"]
        side = vision.get("image_size")
        patch = vision.get("patch_size")
        other_text = "hf_model_name" in config["text_cfg"] or "multimodal_cfg" in config
        if other_text or not isinstance(side, int) or not isinstance(patch, int):
            continue
        found = (
            vision.get("width"),
            vision.get("layers"),
            patch,
            config["embed_dim"],
            (side // patch) ** 2,
        )
        fitting += [name] if found == sizes else []
    return f" Its sizes fit {', '.join(fitting)}." if fitting else ""


def _vit_sizes(tensors: Mapping[str, Tensor]) -> tuple[int, int, int, int, int] | None:
    needed = ("visual.conv1.weight", "visual.positional_embedding", "visual.proj")
    if not all(name in tensors for name in needed):
        return None
    conv, table, projection = (tensors[name] for name in needed)
    if conv.dim() != 4 or table.dim() != 2 or projection.dim() != 2:
        return None
    blocks = {k.split(".")[3] for k in tensors if k.startswith("visual.transformer.resblocks.")}
    return conv.shape[0], len(blocks), conv.shape[-1], projection.shape[1], table.shape[0] - 1


def _refuse_other_activation(
    architecture: str, config: Mapping, weights_quick: bool, source: str
) -> None:
    built_quick = bool(config.get("quick_gelu", False))
    if built_quick == weights_quick:
        return
    base = architecture.removesuffix("-quickgelu")
    wanted = f"{base}-quickgelu" if weights_quick else base
    kinds = ("quick-GELU", "GELU") if weights_quick else ("GELU", "quick-GELU")
    raise UserError(
        f"{source}: these weights were trained with {kinds[0]}, but {architecture} computes "
        f"{kinds[1]}; "
        f"set MODEL.CLIP.ARCHITECTURE to {wanted}"
    )


def _statistics(architecture: str, tag: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    published = get_pretrained_cfg(architecture, tag) or {}
    mean = published.get("mean") or open_clip.OPENAI_DATASET_MEAN
    std = published.get("std") or open_clip.OPENAI_DATASET_STD
    return tuple(mean), tuple(std)
