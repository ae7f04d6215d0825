"""Names of published ZegCLIP and SPT-SEG checkpoints, and ours.

SPT-SEG's authors released no weights; the names are those of their published classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Published part -> ours; the first that matches at the start of a name wins.
_PARTS = (
    (r"backbone\.complex_weight$", "encoder.filters.0.weight"),
    (r"backbone\.prompt_embeddings$", "encoder.prompts.first"),
    (r"backbone\.deep_prompt_embeddings$", "encoder.prompts.deep"),
    (r"backbone\.prompt_proj\.", "encoder.prompts.project."),
    (r"backbone\.prompt_norm\.", "encoder.prompts.norm."),
    (r"decode_head\.q_proj\.", "decoder.query."),
    (r"decode_head\.decoder_1\.layers\.(\d+)\.multihead_attn\.", r"decoder.layers.\1.attention.@"),
    (r"decode_head\.decoder_1\.layers\.(\d+)\.hlfs\.", r"decoder.layers.\1.attention.@"),
    (r"decode_head\.decoder_1\.layers\.(\d+)\.", r"decoder.layers.\1.@"),
    (r"backbone\.", "clip.model.visual."),
    (r"text_encoder\.", "clip.model."),
)
# Names behind the marks.
_ATTENTION = {
    "q": "query", "k": "key", "v": "value", "proj": "project",
    "prompt": "gate", "top_down_transform": "transform",
    "l_q": "mixer.low_query", "l_kv": "mixer.low_key_value", "l_proj": "mixer.low_project",
    "h_qkv": "mixer.high_qkv", "h_proj": "mixer.high_project",
}  # fmt: skip
_LAYER = {
    "linear1": "expand",
    "linear2": "reduce",
    "norm2": "attention_norm",
    "norm3": "feedforward_norm",
}
# Made by the published classes and never used in their computation.
_DEAD = re.compile(
    r"backbone\.proj_fre\.|decode_head\.loss_decode\.|"
    r"decode_head\.decoder_1\.layers\.\d+\.(self_attn|norm1)\."
)
_CROSS = re.compile(r"decode_head\.decoder_1\.layers\.\d+\.multihead_attn\.")
_SPECTRAL = re.compile(r"decode_head\.decoder_1\.layers\.\d+\.hlfs\.")


def rename_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring a published state dict to this package's names.

    Weights that the published code never uses are left out: among them, where an SPT-SEG decoder is
    in the file, its layers' cross-attention and the projection of the high branch.

    Args:
        tensors: published name -> tensor.

    Returns:
        Our name -> tensor; a name that no rule knows stays as it is, for the report to show.
    """
    spectral = any(_SPECTRAL.match(name) for name in tensors)
    kept = {}
    for name, tensor in tensors.items():
        dead = _DEAD.match(name) or (spectral and _CROSS.match(name)) or ".h_proj." in name
        if not dead:
            kept[our_name(name)] = tensor
    return kept


def our_name(published: str) -> str:
    """Translate one name."""
    for pattern, ours in _PARTS:
        if re.match(pattern, published):
            head = re.sub(pattern, ours, published, count=1)
            stem, mark, rest = head.partition("@")
            if not mark:
                return head
            part, dot, leaf = rest.partition(".")
            table = _ATTENTION if ".attention." in stem else _LAYER
            return f"{stem}{table.get(part, part)}{dot}{leaf}"
    return published
