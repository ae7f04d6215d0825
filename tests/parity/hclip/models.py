"""Parity runners of encoders, decoder and whole models."""

from __future__ import annotations

import types

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parametrize

from hclip.adaptation import unadapted
from hclip.model import CATSeg
from hclip.pop import POPSettings
from hclip.published import CLIP_PREFIX, rename_decoder, rename_released
from hclip.rotation import POPAdaptation
from ovs_core.clip import ImageEncoder, TextEncoder
from ovs_core.clip.attention import cls_residual_value_block
from ovs_core.engine.config import add_ovs_config
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.modeling.cost_aggregation import CostAggregation, cost_volume
from ovs_core.modeling.protocols import Slide, Whole

from ..reference_labels import canonical
from ..runner import Arrays, ParityCase, Tolerance, parity_runner
from .algebra import Outputs, gradient_tolerance
from .build import (
    aggregation,
    clip_weights,
    fullsize_model,
    our_names,
    sliding,
    tiny_clip,
    tiny_model,
)

INPUT_WIDTHS = {n: "width of an input" for n in ("text_guidance_dim", "appearance_guidance_dim")}
POP_SIZES = {n: "follows from the widths and q" for n in ("b_text", "b_vision", "grid")}
TOWERS = {**POP_SIZES, "run_resolution": "the pictures have it"}
EVALUATION = {**POP_SIZES, "size_divisibility": "windows are not padded"}


@parity_runner("hclip", "encoders", tolerance=gradient_tolerance, unused=TOWERS)
def run_encoders(case: ParityCase) -> Outputs:
    """Adapted towers: text, dense and pooled image features, block outputs, gradients."""
    weights = clip_weights(case)
    initial = {CLIP_PREFIX + n.split("init:")[1]: t for n, t in weights.items() if "init:" in n}
    weights = {n: t for n, t in weights.items() if "init:" not in n}
    first = _encode(case, weights | initial)
    out, pop = _encode(case, weights, with_blocks=True)
    inputs = case.tensors()
    loss = (out["text"] * inputs["cot_text"]).sum()
    (loss + (out["dense_run"] * inputs["cot_dense"]).sum()).backward()
    out |= {"grad/T": pop.blocks.grad, "grad/relation_l": pop.relation.layers.grad}
    out |= {f"grad/relation_m.{i}": g for i, g in enumerate(pop.relation.slots.grad)}
    slots = len(pop.relation.slots)
    shared = ("layer_R", "relation_l_R.weight",
              *(f"relation_m_R.{i}.weight" for i in range(slots)))  # fmt: skip
    path = "visual.transformer.resblocks.0.attn_q_proj_oft_"
    trained = [p for p in pop.parameters() if p.requires_grad]
    if len(trained) != 3:  # blocks, layers, and all slots in one
        raise ValueError(f"{len(trained)} tensors of the adaptation train")
    out["meta.trainable"] = [path + name for name in shared]
    return out | {f"init.{name}": x for name, x in first[0].items()}


def _encode(case: ParityCase, weights: dict[str, Tensor], *, with_blocks: bool = False) -> tuple:
    sizes, inputs = case.meta["sizes"], case.tensors()
    clip = tiny_clip(sizes, inputs["tokens"])
    adaptation = POPAdaptation(clip, POPSettings(block_size=sizes["q"]))
    holder = torch.nn.Module()
    holder.clip, holder.adaptation = clip, adaptation
    holder.load_state_dict(rename_released(weights, holder), strict=False)
    out: Outputs = {}
    out["text"] = TextEncoder(clip)(inputs["tokens"])
    if with_blocks:
        x = clip.model.token_embedding(inputs["tokens"]) + clip.model.positional_embedding
        for i, block in enumerate(clip.model.transformer.resblocks):
            x = block(x, attn_mask=clip.model.attn_mask)
            out[f"block.t{i}"] = x.transpose(0, 1)
    encoder = ImageEncoder(clip.visual)
    last = encoder.num_blocks - 1
    for name in ("run", "native"):
        tokens, grid = encoder.embed(inputs[f"image_{name}"])
        tokens, taps = encoder.run_blocks(
            tokens, grid, taps=range(last), blocks={last: cls_residual_value_block}
        )
        out[f"dense_{name}"] = encoder.project(tokens)
        if with_blocks and name == "run":
            out |= {f"block.v{i}": x.transpose(0, 1) for i, x in taps.items()}
    # The released pooled path leaves the last image block unadapted.
    attn = clip.visual.transformer.resblocks[last].attn
    originals = _plain_block(attn)
    out["pooled_native"] = encoder(inputs["image_native"], blocks={last: originals}).cls
    return out, adaptation.pop


def _plain_block(attn: torch.nn.Module):
    """Give a block function that runs with the attention weights before adaptation."""

    def run(block: torch.nn.Module, tokens: Tensor) -> Tensor:
        y = block.ln_1(tokens)
        attended = F.multi_head_attention_forward(
            *[y.transpose(0, 1)] * 3,
            attn.embed_dim,
            attn.num_heads,
            unadapted(attn, "in_proj_weight"),
            attn.in_proj_bias,
            None,
            None,
            False,
            0.0,
            unadapted(attn.out_proj, "weight"),
            attn.out_proj.bias,
            need_weights=False,
        )[0].transpose(0, 1)
        x = tokens + attended
        return x + block.mlp(block.ln_2(x))

    return run


def aggregator_tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Skip intermediate maps of a file with dropped classes: their order is unspecified."""
    if case.meta["topk_gap"] is not None and name != "logits" and not name.startswith("grad/"):
        return Tolerance(skip="in the released order of the best classes")
    return gradient_tolerance(case, name, references)


@parity_runner("catseg", "aggregator", tolerance=aggregator_tolerance, unused=INPUT_WIDTHS)
def run_aggregator(case: ParityCase) -> Outputs:
    """The decoder alone, with its intermediate maps and gradients."""
    settings, inputs = aggregation(case.meta["config"]), case.tensors()
    model = CostAggregation(inputs["img_feat"].shape[1], case.meta["P"], settings)
    weights = {
        rename_decoder(n).removeprefix("decoder."): t.flatten() if ".padding_" in n else t
        for n, t in case.tensors("weights").items()
        if not n.endswith("attn_mask")
    }
    model.load_state_dict(weights)
    out: Outputs = {}
    _keep_maps(model, out)
    image, text = (inputs[n].requires_grad_() for n in ("img_feat", "text_feat"))
    guidance = [inputs[f"guidance{i}"] for i in range(3)]
    logits = model(image, text, guidance)
    (logits * inputs["cot"] * (logits > -99)).sum().backward()
    out |= {"logits": logits, "corr": cost_volume(image, text).flatten(0, 1)}
    out |= {"grad/img_feat": image.grad, "grad/text_feat": text.grad}
    gradients = {f"decoder.{n}": p.grad for n, p in model.named_parameters()}
    for name in case.weights:
        gradient = gradients.get(rename_decoder(name))
        if gradient is not None:
            out[f"grad/{name}"] = gradient[None, None] if ".padding_" in name else gradient
    if case.meta["eval_pooling"]:
        for layer in model.layers:
            layer.classes.pooling_test = tuple(case.meta["eval_pooling"])
        with torch.no_grad():
            out["logits_eval_pooling"] = model.eval()(image, text, guidance)
    return out


def _keep_maps(model: CostAggregation, out: Outputs) -> None:
    """Record intermediate maps of the first forward in the file's layouts."""

    def keep(module: torch.nn.Module, name: str, change) -> None:
        def record(module: torch.nn.Module, args: tuple, y: Tensor) -> None:
            out.setdefault(name, change(y))

        module.register_forward_hook(record)

    keep(model.embed, "corr_embed", lambda y: y)
    for i, layer in enumerate(model.layers):
        rows = lambda y: y.flatten(2, 3).flatten(0, 1)  # noqa: E731
        volume = lambda y: y.permute(0, 4, 1, 2, 3)  # noqa: E731
        keep(layer.spatial.blocks[0], f"layer{i}.swin_block1", rows)
        keep(layer.spatial, f"layer{i}.swin", volume)
        keep(layer.classes, f"layer{i}.class", volume)
    keep(model.stages[0], "decoder1", lambda y: y.flatten(0, 1))


ADAM = "Adam divides by the size of tiny gradients; the file allows a norm within 3 %"


def training_tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Bound changes after Adam steps by 3 % of their largest entry, as the file suggests."""
    if name.startswith("delta3."):
        return Tolerance(atol=1e-9, of_max=0.03, share=0.01, insensitive=ADAM)
    return gradient_tolerance(case, name, references)


@parity_runner(
    "hclip",
    "full_train",
    tolerance=training_tolerance,
    unused={**POP_SIZES, "delta": "a sentence on the changes; training_tolerance follows it"},
)
def run_hclip_training(case: ParityCase) -> Outputs:
    """A training step of H-CLIP, and three optimiser steps."""
    model = tiny_model(case, "hclip").train()
    out = _training_step(case, model)
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in named.items()}
    optimizer = build_optimizer(_released_solver(case), model)
    out |= _optimiser_facts(case, model, optimizer)
    losses = []
    for _ in range(len(case.meta["step_losses"])):
        optimizer.zero_grad()
        loss = model.losses(_batch(case))["loss_sem_seg"]
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    out["step_losses"] = out["meta.step_losses"] = torch.stack(losses)
    change = {n: p.detach() - before[n] for n, p in named.items()}
    place = CLIP_PREFIX + "visual.transformer.resblocks.0.attn_q_proj_oft_relation_l_R.weight"
    return out | {
        "delta3.sem_seg_head.predictor.transformer.head.weight": change["decoder.head.weight"],
        "delta3.upsample2.bias": change["upsample.1.bias"],
        f"delta3.{place}": change["adaptation.pop.relation.layers"],
    }


@parity_runner("catseg", "catseg_train", tolerance=gradient_tolerance)
def run_catseg_training(case: ParityCase) -> Outputs:
    """A training step of CAT-Seg."""
    return _training_step(case, tiny_model(case, "attention").train())


@parity_runner("catseg", "catseg_train_prompt", tolerance=gradient_tolerance)
def run_prompt_training(case: ParityCase) -> Outputs:
    """A training step of CAT-Seg with visual prompts."""
    return _training_step(case, tiny_model(case, "vpt").train())


def _training_step(case: ParityCase, model: CATSeg) -> Outputs:
    out: Outputs = {}
    encode, decode = model.encode, model.decode

    def keep_features(self: CATSeg, images: Tensor):
        features = encode(images)
        out.update(img_feat=features.dense, text_embed=model.text_features()[None])
        out.update(res4_up=features.guidance[0], res5_up=features.guidance[1])
        return features

    def keep_logits(self: CATSeg, features, text: Tensor) -> Tensor:
        out["logits"] = decode(features, text)
        return out["logits"]

    model.encode = types.MethodType(keep_features, model)
    model.decode = types.MethodType(keep_logits, model)
    out["loss"] = model.losses(_batch(case))["loss_sem_seg"]
    out["loss"].backward()
    model.encode, model.decode = encode, decode
    return out | _released_gradients(model) | _facts(case, model)


def _facts(case: ParityCase, model: CATSeg) -> Outputs:
    """Names of what trains, and the norm of all its gradients."""
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    names = our_names(case, model)
    squares = sum(float(p.grad.double().square().sum()) for p in trained.values())
    return {
        "meta.trainable": [released for released, ours in names.items() if ours in trained],
        "meta.total_grad_norm": np.sqrt(squares),
    }


def _optimiser_facts(
    case: ParityCase, model: CATSeg, optimizer: torch.optim.Optimizer
) -> dict[str, object]:
    """Rate and decay of every parameter, and what Adam is told."""
    groups = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    trained = {n: groups[id(p)] for n, p in model.named_parameters() if id(p) in groups}
    settings = {
        released: [trained[ours]["lr"], trained[ours]["weight_decay"]]
        for released, ours in our_names(case, model).items()
        if ours in trained
    }
    first = optimizer.param_groups[0]
    return {
        "meta.optimiser.groups": settings,
        "meta.optimiser.betas": list(first["betas"]),
        "meta.optimiser.eps": first["eps"],
    }


def _released_gradients(model: CATSeg) -> Outputs:
    """Gradients under their released names."""
    out: Outputs = {}
    resblocks = (("visual.", model.clip.visual), ("", model.clip.model))
    for part, tower in resblocks:
        for i, block in enumerate(tower.transformer.resblocks):
            if parametrize.is_parametrized(block.attn, "in_proj_weight"):
                rows = block.attn.parametrizations.in_proj_weight[0]
                path = f"grad/{CLIP_PREFIX}{part}transformer.resblocks.{i}.attn."
                for name in ("query", "value"):
                    gradient = getattr(getattr(rows, name, None), "grad", None)
                    out[f"{path}{name[0]}_proj_weight"] = gradient
    shared = f"grad/{CLIP_PREFIX}visual.transformer.resblocks.0.attn_q_proj_oft_"
    pop = getattr(model.adaptation, "pop", None)
    if pop is not None:
        out[shared + "layer_R"] = pop.blocks.grad
        out[shared + "relation_l_R.weight"] = pop.relation.layers.grad
        for i, gradient in enumerate(pop.relation.slots.grad):
            out[shared + f"relation_m_R.{i}.weight"] = gradient
    tokens = getattr(model.adaptation, "tokens", None)
    if tokens is not None:
        out[f"grad/{CLIP_PREFIX}visual.transformer.prompt_tokens"] = tokens.grad
    out |= _decoder_gradients(model)
    return {name: x for name, x in out.items() if x is not None}


def _decoder_gradients(model: CATSeg) -> Outputs:
    ours = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    out = {f"grad/upsample{i + 1}.{n}": ours[f"upsample.{i}.{n}"]
           for i in range(2) for n in ("weight", "bias")}  # fmt: skip
    names = (
        "conv1.weight", "layers.0.attention.padding_tokens", "layers.0.attention.padding_guidance",
        "layers.0.swin_block.block_2.attn.q.weight", "head.weight",
        "text_guidance_projection.0.weight",
    )  # fmt: skip
    for name in names:
        gradient = ours[rename_decoder(name)]
        gradient = gradient[None, None] if ".padding_" in name else gradient
        out[f"grad/sem_seg_head.predictor.transformer.{name}"] = gradient
    return out


def _batch(case: ParityCase) -> list[dict]:
    inputs = case.tensors()
    pairs = zip(inputs["images_uint8"], inputs["sem_seg"], strict=True)
    return [{"image": image, "sem_seg": canonical(target)} for image, target in pairs]


def _released_solver(case: ParityCase) -> CfgNode:
    """Give the solver of the released recipe: AdamW, 0.01 for CLIP's side, no decay of norms."""
    cfg = get_cfg()
    add_ovs_config(cfg)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY = 2e-4, 1e-4
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.0
    cfg.SOLVER.PARAM_MULTIPLIERS = [["clip.", 0.01, 1.0], ["adaptation.", 0.01, 1.0]]
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    clipping.ENABLED, clipping.CLIP_TYPE = True, "full_model"
    clipping.CLIP_VALUE = case.meta["optimiser"]["clip_full_model_norm"]
    return cfg


@parity_runner("hclip", "full_eval_whole", "full_eval_sliding", unused=EVALUATION)
def run_hclip_evaluation(case: ParityCase) -> Outputs:
    """Evaluate H-CLIP on whole pictures or in windows."""
    protocol = sliding(case) if case.meta["sliding"] else None
    model = tiny_model(case, "hclip", protocol).eval()
    out = {}
    for i, one in enumerate(case.meta["cases"]):
        picture = torch.from_numpy(case.inputs[f"image_uint8.{i}"])
        if list(picture.shape[-2:]) != one["input_hw"]:
            raise ValueError(f"picture {i} has another size than the file states")
        default = protocol.canvas if protocol else picture.shape[-2:]
        size = tuple(s or d for s, d in zip(one["height_width"], default, strict=True))
        out |= {f"{name}.{i}": x for name, x in _evaluate(model, picture, size).items()}
    return out


@parity_runner("catseg", "catseg_eval", "catseg_eval_prompt")
def run_catseg_evaluation(case: ParityCase) -> Outputs:
    """Evaluate CAT-Seg both ways."""
    mode = "vpt" if case.kind.endswith("prompt") else "attention"
    out = {}
    for way, protocol in (("whole", None), ("sliding", sliding(case))):
        model = tiny_model(case, mode, protocol).eval()
        names = [n for n in case.inputs if n.startswith(f"image_uint8.{way}.")]
        for name in names:
            index = name.rpartition(".")[2]
            picture = torch.from_numpy(case.inputs[name])
            size = case.inputs.get(f"height_width.{way}.{index}", np.array(picture.shape[-2:]))
            maps = _evaluate(model, picture, tuple(int(s) for s in size))
            out[f"sem_seg.{way}.{index}"] = maps["sem_seg"]
    return out


def _evaluate(model: CATSeg, picture: Tensor, size: tuple[int, int]) -> Outputs:
    logits = []
    with torch.no_grad():
        hook = model.decoder.register_forward_hook(lambda m, a, y: logits.append(y))
        scores = model.segment(picture, size).full()
        hook.remove()
    return {"sem_seg": scores, "logits": torch.cat(logits)}


@parity_runner("hclip", "fullsize_vitb16")
def run_hclip_fullsize(case: ParityCase) -> Outputs:
    """Real ViT-B/16 sizes with weights from a recipe."""
    return _run_fullsize(case, "hclip")


@parity_runner("catseg", "fullsize_vitb16")
def run_catseg_fullsize(case: ParityCase) -> Outputs:
    """Real ViT-B/16 sizes with weights from a recipe."""
    return _run_fullsize(case, "attention")


def _run_fullsize(case: ParityCase, mode: str) -> Outputs:
    model = fullsize_model(case, mode)
    tokens = model.text_encoder.tokenize(model.prompts())
    if not np.array_equal(tokens.numpy(), case.inputs["tokens"]):
        raise ValueError("the tokenizer gives other tokens than the reference")
    out: Outputs = {}
    for one in case.meta["cases"]:
        seed = 100 + one["k"] + 10 * case.meta["salt"]
        shape = (3, *one["HW"])
        pixels = np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)
        released = Slide(384, 256, (640, 640), with_whole=True)
        model.protocol = released if one["sliding"] else Whole(divisor=32, cut_padding=False)
        picture = torch.from_numpy(pixels)
        with torch.no_grad():
            encoded = model.encode_picture(picture)
            scores = model.score_picture(encoded, tuple(one["height_width"]))
            out[f"sem_seg.{one['k']}"] = scores.full()
            if one["k"] == 0:
                out |= _subsampled(model, encoded[0])
    return out


def _subsampled(model: CATSeg, features) -> Outputs:
    return {
        "text_embed": model.text_features()[:, 0],
        "img_feat_sub": features.dense[0, ::8, ::3, ::3],
        "res4_up_sub": features.guidance[0][0, ::16, ::6, ::6],
        "res5_up_sub": features.guidance[1][0, ::16, ::12, ::12],
        "logits": model.score(features)[0, :, ::2, ::2],
    }
