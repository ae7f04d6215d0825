"""Names of released CAT-Seg and H-CLIP checkpoints -> names of this package.

Released files keep the whole model: CLIP under OpenAI's names, in CAT-Seg with the input projection
split in three; the aggregator; and in H-CLIP 24 aliases of each shared tensor, one per block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ovs_core.errors import UserError

CLIP_PREFIX = "sem_seg_head.predictor.clip_model."
DECODER_PREFIX = "sem_seg_head.predictor.transformer."

# Patterns of the aggregator's names; the first that matches is used.
_DECODER = (
    (r"conv1\.(.+)", r"embed.\1"),
    (r"guidance_projection\.0\.(.+)", r"appearance.\1"),
    (r"text_guidance_projection\.0\.(.+)", r"text.\1"),
    (r"decoder_guidance_projection\.(\d)\.0\.(.+)", r"detail.\1.\2"),
    (r"layers\.(\d+)\.swin_block\.guidance_norm\.(.+)", r"layers.\1.spatial.guidance_norm.\2"),
    (r"layers\.(\d+)\.swin_block\.block_1\.mlp\.fc1\.(.+)", r"layers.\1.spatial.blocks.0.mlp.0.\2"),
    (r"layers\.(\d+)\.swin_block\.block_1\.mlp\.fc2\.(.+)", r"layers.\1.spatial.blocks.0.mlp.2.\2"),
    (r"layers\.(\d+)\.swin_block\.block_2\.mlp\.fc1\.(.+)", r"layers.\1.spatial.blocks.1.mlp.0.\2"),
    (r"layers\.(\d+)\.swin_block\.block_2\.mlp\.fc2\.(.+)", r"layers.\1.spatial.blocks.1.mlp.2.\2"),
    (r"layers\.(\d+)\.swin_block\.block_1\.(.+)", r"layers.\1.spatial.blocks.0.\2"),
    (r"layers\.(\d+)\.swin_block\.block_2\.(.+)", r"layers.\1.spatial.blocks.1.\2"),
    (r"layers\.(\d+)\.attention\.attention\.(.+)", r"layers.\1.classes.\2"),
    (r"layers\.(\d+)\.attention\.MLP\.(.+)", r"layers.\1.classes.mlp.\2"),
    (r"layers\.(\d+)\.attention\.padding_tokens", r"layers.\1.classes.padding_token"),
    (r"layers\.(\d+)\.attention\.padding_guidance", r"layers.\1.classes.padding_guidance"),
    (r"layers\.(\d+)\.attention\.(norm\d\..+)", r"layers.\1.classes.\2"),
    (r"decoder1\.up\.(.+)", r"stages.0.up.\1"),
    (r"decoder2\.up\.(.+)", r"stages.1.up.\1"),
    (r"decoder1\.conv\.double_conv\.0\.(.+)", r"stages.0.conv1.\1"),
    (r"decoder2\.conv\.double_conv\.0\.(.+)", r"stages.1.conv1.\1"),
    (r"decoder1\.conv\.double_conv\.1\.(.+)", r"stages.0.norm1.\1"),
    (r"decoder2\.conv\.double_conv\.1\.(.+)", r"stages.1.norm1.\1"),
    (r"decoder1\.conv\.double_conv\.3\.(.+)", r"stages.0.conv2.\1"),
    (r"decoder2\.conv\.double_conv\.3\.(.+)", r"stages.1.conv2.\1"),
    (r"decoder1\.conv\.double_conv\.4\.(.+)", r"stages.0.norm2.\1"),
    (r"decoder2\.conv\.double_conv\.4\.(.+)", r"stages.1.norm2.\1"),
    (r"head\.(.+)", r"head.\1"),
)
_SHARED = re.compile(r".*attn_q_proj_oft_(layer_R|relation_l_R\.weight|relation_m_R\.\d+\.weight)")
# Recomputed masks and integer records of sizes carry no weight.
_IGNORED = re.compile(r".*\.(attn_mask|cross_attention_dim|hidden_size)$|pixel_(mean|std)$")


def rename_released(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Bring a released state dict to a model's names.

    Args:
        tensors: released name -> tensor.
        model: a ``CATSeg``; what it parametrizes decides where CLIP's weights go.

    Returns:
        Our name -> tensor; names that are not known keep their name, so that a report shows them.

    Raises:
        UserError: if aliases of one shared tensor differ, or the file is a plain CLIP.
    """
    if {"visual.conv1.weight", "token_embedding.weight"} <= tensors.keys():
        raise UserError(
            "MODEL.WEIGHTS is a plain CLIP (perhaps one written by ovsuite merge), not a "
            "checkpoint of this method; give it as MODEL.CLIP.PRETRAINED"
        )
    state = model.state_dict()
    result: dict[str, Tensor] = {}
    for name, tensor in _whole_projections(tensors).items():
        if _IGNORED.match(name) or _SHARED.match(name):
            continue
        result[_target(name, state)] = _reshaped(name, tensor)
    result.update(_shared_tensors(tensors))
    result.update(_trained_rows(result, state))
    return result


def _target(name: str, known: Iterable[str]) -> str:
    if name.startswith(CLIP_PREFIX):
        own = name.removeprefix(CLIP_PREFIX)
        if own == "visual.transformer.prompt_tokens":
            return "adaptation.tokens"
        path, _, leaf = f"clip.model.{own}".rpartition(".")
        original = f"{path}.parametrizations.{leaf}.original"
        return original if original in known else f"{path}.{leaf}"
    if name.startswith(DECODER_PREFIX):
        return rename_decoder(name.removeprefix(DECODER_PREFIX))
    found = re.fullmatch(r"upsample([12])\.(.+)", name)
    return f"upsample.{int(found[1]) - 1}.{found[2]}" if found else name


def rename_decoder(name: str) -> str:
    """Give our name, with ``decoder.``, of a tensor of the released aggregator."""
    for pattern, replacement in _DECODER:
        if re.fullmatch(pattern, name):
            return "decoder." + re.sub(pattern, replacement, name)
    return DECODER_PREFIX + name


def _reshaped(name: str, tensor: Tensor) -> Tensor:
    return tensor.flatten() if ".padding_" in name else tensor


def _whole_projections(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join query, key and value weights where they are split."""
    result = {}
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        if leaf == "q_proj_weight" and f"{path}.k_proj_weight" in tensors:
            parts = [tensors[f"{path}.{part}_proj_weight"] for part in "qkv"]
            result[f"{path}.in_proj_weight"] = torch.cat(parts)
        elif leaf not in ("k_proj_weight", "v_proj_weight"):
            result[name] = tensor
    return result


def _trained_rows(renamed: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give ``QueryValue`` parametrizations their rows.

    The weight below them keeps its own query and value rows, which nothing reads: they are the
    CLIP's as it was loaded, and trained ones would pass for another CLIP.
    """
    rows: dict[str, Tensor] = {}
    for name, tensor in renamed.items():
        part = name.removesuffix("original") + "0."
        if not (name.endswith("in_proj_weight.original") and f"{part}query" in state):
            continue
        query, key, value = tensor.chunk(3)
        rows |= {f"{part}query": query, f"{part}value": value}
        if tensor.shape == state[name].shape:
            first, _, last = state[name].to(tensor).chunk(3)
            rows[name] = torch.cat([first, key, last])
    return rows


def _shared_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read one alias of each tensor that H-CLIP's blocks share."""
    found: dict[str, tuple[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _SHARED.match(name)
        if not match:
            continue
        first_name, first = found.setdefault(match[1], (name, tensor))
        if first is not tensor and not torch.equal(first, tensor):
            raise UserError(f"{first_name} and {name} should be one shared tensor, but they differ")
    if not found:
        return {}
    values = {part: tensor for part, (_, tensor) in found.items()}
    count = sum(part.startswith("relation_m") for part in values)
    slots = [values[f"relation_m_R.{i}.weight"] for i in range(count)]
    return {
        "adaptation.pop.blocks": values["layer_R"],
        "adaptation.pop.relation.layers": values["relation_l_R.weight"],
        "adaptation.pop.relation.slots": torch.stack(slots),
    }
