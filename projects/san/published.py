"""Published SAN checkpoints: their names.

The published code cuts CLIP in two and numbers the blocks behind the cut from 0 again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ovs_core.errors import UserError
from ovs_core.modeling.published_names import translate, without_known_text
from ovs_core.modeling.segmenter import Segmenter

_IMAGE, _EARLY, _LATE = "clip.model.visual.", "clip_visual_extractor.", "clip_rec_head."
_EARLY_BLOCK = re.compile(r"clip_visual_extractor\.resblocks\.(\d+)\.")
# Weights of the loss and a table that open_clip builds itself; both follow from the config.
_DERIVED = ("criterion.empty_weight", "ov_classifier.attn_mask")


def published_rules(split: int, blocks: int) -> list[tuple[str, str]]:
    """Give the rules (published, ours) of a model, see ``ovs_core.modeling.published_names``.

    Args:
        split: blocks of CLIP before the cut.
        blocks: all blocks of CLIP.
    """
    late = [
        (f"{_LATE}resblocks.{i - split}.{{}}", f"{_IMAGE}transformer.resblocks.{i}.{{}}")
        for i in range(split, blocks)
    ]
    return [
        ("side_adapter_network.{}", "side_adapter.{}"),
        *late,
        (_LATE + "sos_token", "recognition.sos_token"),
        (_LATE + "proj", _IMAGE + "proj"),
        (_LATE + "ln_post.{}", _IMAGE + "ln_post.{}"),
        (_EARLY + "resblocks.{}.{}", _IMAGE + "transformer.resblocks.{}.{}"),
        (_EARLY + "{}", _IMAGE + "{}"),
        ("ov_classifier.bg_embed", "bg_embed"),
        ("ov_classifier.{}", "clip.model.{}"),
    ]


def published_weights(
    model: Segmenter, tensors: Mapping[str, Tensor], *, split: int, blocks: int
) -> dict[str, Tensor]:
    """Translate a published state dict into this suite's names.

    Args:
        model: the model that will get them.
        tensors: the published state dict.
        split: blocks of CLIP before the model's cut.
        blocks: all blocks of CLIP.

    Raises:
        UserError: if the checkpoint stands on another CLIP, or cuts it elsewhere.
    """
    _check_split(split, tensors)
    rules = published_rules(split, blocks)
    renamed = {translate(n, rules): value for n, value in tensors.items() if n not in _DERIVED}
    return without_known_text(model, renamed)


def _check_split(split: int, tensors: Mapping[str, Tensor]) -> None:
    early = {found[1] for name in tensors if (found := _EARLY_BLOCK.match(name))}
    if early and len(early) != split:
        raise UserError(
            f"the checkpoint cuts CLIP behind block {len(early)}, but "
            f"MODEL.SAN.FEATURE_LAST_LAYER_IDX is {split}; choose the config of its CLIP"
        )
