"""The tiny models of the reference vectors, built as a config builds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import open_clip
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from ovs_core.clip import CLIP, TextEmbedder
from ovs_core.engine.config import load_cfg
from ovs_core.methods.configs import find_config
from ovs_core.modeling.protocols import Whole
from ovs_core.modeling.published_names import translate
from ovs_core.words.vocabulary import Vocabulary
from san import recognition as recognition_module
from san.build import san_on
from san.model import SAN
from san.published import published_rules

from ..maftplus.tiny_models import TEMPLATES, RecordedTexts
from ..runner import ParityCase

Results = dict[str, object]
# Of a published checkpoint, but not in the files: the text tower.
TEXT = ("clip.model.transformer.", "clip.model.token_", "clip.model.ln_final", "clip.model.text_",
        "clip.model.positional_")  # fmt: skip


def config_of(case: ParityCase) -> CfgNode:
    """The published config at a file's sizes."""
    stated, cfg = case.config, load_cfg(find_config("san/vitb16"))
    node, clip, adapter = cfg.MODEL.SAN, stated["clip"], stated["adapter"]
    node.FEATURE_LAST_LAYER_IDX, node.CLIP_RESOLUTION = clip["split"], clip["resolution"]
    node.TRAIN_NUM_POINTS = stated["points"]
    for key, value in stated.get("san", {}).items():
        assert key in node
        node[key] = value
    side, bias = cfg.MODEL.SIDE_ADAPTER, cfg.MODEL.SIDE_ADAPTER.ATTN_BIAS
    side.WIDTH, side.HEADS, side.DEPTH = adapter["width"], adapter["heads"], adapter["depth"]
    side.PATCH, side.IMAGE_SIZE = adapter["patch"], adapter["image_size"]
    side.NUM_QUERIES, side.FUSION_MAP = adapter["queries"], adapter["fusion_map"]
    side.DEEP_SUPERVISION_IDXS = adapter["supervised"]
    bias.NUM_HEADS, bias.NUM_LAYERS = adapter["bias_heads"], adapter.get("bias_layers", 1)
    bias.EMBED_CHANNELS, bias.MLP_CHANNELS = adapter["embed_channels"], adapter["mlp_channels"]
    bias.MLP_NUM_LAYERS = adapter["mlp_layers"]
    return cfg


def tiny_clip(config: dict) -> CLIP:
    """Build the CLIP of a file's ``clip`` entry, with a text tower that nothing asks."""
    vision = {
        "image_size": config["image_size"],
        "patch_size": config["patch"],
        "width": config["width"],
        "layers": config["layers"],
        "head_width": config["head_width"],
    }
    text = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1}
    model = open_clip.CLIP(config["embed"], vision, text, quick_gelu=True)
    model.eval().requires_grad_(False)

    def no_tokenizer(texts: list[str]) -> Tensor:
        raise NotImplementedError("the reference files hold encoded texts")

    return CLIP(model, no_tokenizer, architecture="tiny", pretrained="reference file")


def tiny_san(case: ParityCase) -> SAN:
    """Build the model of a file's ``config`` with its weights and, if it has texts, its words."""
    cfg, clip = config_of(case), tiny_clip(case.config["clip"])
    segmenter = {"clip": clip, "templates": TEMPLATES, "protocol": Whole(), "output": "scores"}
    model = SAN(**san_on(segmenter, cfg))
    words = Vocabulary.from_names(case.config["names"])
    recorded = {}
    if "text_raw" in case.inputs:
        raw = case.inputs["text_raw"].reshape(-1, clip.embed_dim)
        recorded = dict(zip(words.prompts(TEMPLATES), raw, strict=True))
    model.text_embedder = TextEmbedder(RecordedTexts(clip, recorded), folder="")
    model.set_vocabulary(words)
    load_weights(model, case.tensors("weights"))
    return model.eval()


def load_weights(model: SAN, published: dict[str, Tensor], *, whole: bool = False) -> None:
    """Load published names; files of a part hold that part alone, others lack the text tower."""
    published = {n: t for n, t in published.items() if n != "criterion.empty_weight"}
    rules = published_rules(model.recognition.split, model.encoder.num_blocks)
    result = model.load_state_dict(
        {translate(name, rules): tensor for name, tensor in published.items()}, strict=False
    )
    missing = [n for n in result.missing_keys if whole or not n.startswith(TEXT)]
    tops = {name.split(".")[0] for name in published}
    if result.unexpected_keys or (missing and len(tops) == 4):
        raise ValueError(f"missing {missing}, unexpected {result.unexpected_keys}")


def published_parameters(model: SAN) -> list[tuple[str, nn.Parameter]]:
    """Parameters but the text tower's, under published names and in the published order."""
    rules = published_rules(model.recognition.split, model.encoder.num_blocks)
    backwards = [(ours, theirs) for theirs, ours in rules]
    named = [
        (translate(name, backwards), parameter)
        for name, parameter in model.named_parameters()
        if not name.startswith(TEXT)
    ]
    parts = ("side_adapter_network.", "clip_visual_extractor.", "clip_rec_head.", "ov_classifier.")
    # Inside a part the order is ours, but that its own parameters come first.
    order = sorted(
        named,
        key=lambda item: (
            [item[0].startswith(part) for part in parts].index(True),
            item[0] not in ("clip_rec_head.proj", "ov_classifier.logit_scale"),
        ),
    )
    return order


@contextmanager
def watched(model: SAN) -> Iterator[Results]:
    """Keep what passes inside a model, under the files' names."""
    seen: Results = {}
    heads, blocks = iter(range(100)), len(model.recognition.blocks)
    finish = recognition_module.finish_block

    def adapter_block(number: int):
        def keep(_, inputs, output):
            seen[f"block_in{number}"], seen[f"block_out{number}"] = inputs[0], output

        return keep

    def decoded(_, inputs, output):
        head = next(heads)
        seen[f"query_out{head}"], seen[f"map_out{head}"] = inputs
        seen[f"mask_logits{head}"], seen[f"biases{head}"] = output

    def recognised(*args):
        output = finish(*args)
        number = sum(name.startswith("sls/") for name in seen)
        seen[f"sls/head{number // blocks}_block{number % blocks}"] = output[:, : model.num_queries]
        return output

    adapter = model.side_adapter
    hooks = [
        block.register_forward_hook(adapter_block(i))
        for i, block in enumerate(adapter.vit_model.blocks, start=1)
    ]
    hooks += [
        adapter.mask_decoder.register_forward_hook(decoded),
        adapter.vit_model.patch_embed.register_forward_hook(
            lambda _, __, out: seen.update(patch_tokens=out.flatten(2).transpose(1, 2))
        ),
    ]
    with mock.patch.object(recognition_module, "finish_block", recognised):
        yield seen
    for hook in hooks:
        hook.remove()


def gradient(parameter: nn.Parameter) -> Tensor:
    """What a parameter got, zeros for nothing."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
