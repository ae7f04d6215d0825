"""Parity runners of the tensor operations and of DCRC alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from hclip.pop import CodeRelation, PaperRelation, PartialOrthogonal, POPSettings, TowerShape
from ovs_core import tensor as ops

from ..runner import Arrays, ParityCase, Tolerance, default_tolerance, largest_entry, parity_runner

Outputs = dict[str, Tensor]
# Sizes of the CLIP around the blocks, which these blocks do not depend on.
WHOLE_MODEL = {
    name: "size of the CLIP around it"
    for name in ("head_dim", "embed_dim", "patch_size", "pretrain_resolution", "run_resolution",
                 "grid", "context_length", "vocab_size")
}  # fmt: skip


def gradient_tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Read the file's tolerance; gradients have the one of these files' read-me.

    That one, 1e-4, is wide for small gradients: half a percent of the largest is all they get.
    """
    if not name.startswith("grad/"):
        return default_tolerance(case, name, references)
    largest = largest_entry(references[name])
    atol = min(1e-4 * max(1.0, largest), max(5e-3 * largest, 1e-9))
    return Tolerance(rtol=5e-4, atol=atol)


@parity_runner("hclip", "tproduct")
def run_tproduct(case: ParityCase) -> Outputs:
    """T-products of several orders."""
    inputs = case.tensors()
    out = {}
    for i, shapes in enumerate(case.meta["cases"]):
        a, b = (inputs[f"{i}/{name}"].double() for name in "AB")
        if [list(a.shape), list(b.shape)] != [shapes["A"], shapes["B"]]:
            raise ValueError(f"the arrays of case {i} have other shapes than the file states")
        matrices = [inputs[f"{i}/S{k}"].double() for k in range(3, a.dim() + 1)]
        out |= {
            f"{i}/circ_A": ops.circ(a),
            f"{i}/unfold_B": ops.unfold(b),
            f"{i}/C": ops.t_product(a, b),
            f"{i}/C_S": ops.transform_product(a, b, matrices),
            f"{i}/A_bar": ops.transform(a, matrices),
        }
    return out


@parity_runner(
    "hclip",
    "cayley_blockdiag",
    tolerance=gradient_tolerance,
    unused={"cases": "a sentence about the arrays"},
)
def run_cayley(case: ParityCase) -> Outputs:
    """POP on the attention weights of one block."""
    inputs, out = case.tensors(), {}
    for group in sorted({name.split("/")[0] for name in inputs}):
        part = {n.split("/")[1]: t for n, t in inputs.items() if n.startswith(f"{group}/")}
        out |= {f"{group}/cayley_R_q": ops.cayley(part["R_q"])}
        out[f"{group}/HE"] = _energies(part)
        for kind in ("orth", "free"):
            result = _project(part, kind == "orth")
            for name, array in result.items():
                prefix = "grad/" if name.startswith("grad/") else ""
                out[f"{prefix}{group}/{kind}/{name.removeprefix(prefix)}"] = array
    return out


def _project(part: Mapping[str, Tensor], orthogonal: bool) -> Outputs:
    raw = {n: part[n].clone().requires_grad_() for n in ("R_q", "R_k", "R_v", "R_o")}
    r = {n: ops.cayley(x) if orthogonal else x for n, x in raw.items()}
    weight = part["in_proj_weight"].unflatten(0, (3, -1))
    blocks = torch.stack([r["R_q"], r["R_k"], r["R_v"]])
    weight = ops.apply_block_diagonal(weight, blocks, side="right").flatten(0, 1)
    qkv = F.linear(part["x"], weight, part["in_proj_bias"])
    weight = ops.apply_block_diagonal(part["out_proj_weight"], r["R_o"], side="left")
    out = F.linear(part["x"], weight, part["out_proj_bias"])
    ((qkv * part["cot_qkv"]).sum() + (out * part["cot_out"]).sum()).backward()
    return {"qkv": qkv, "out": out, **{f"grad/{n}": x.grad for n, x in raw.items()}}


def _energies(part: Mapping[str, Tensor]) -> Tensor:
    query = part["in_proj_weight"].chunk(3)[0].double()
    output = part["out_proj_weight"].double()
    r_q, r_o = (ops.cayley(part[n].double()) for n in ("R_q", "R_o"))
    weights = (
        query,
        ops.apply_block_diagonal(query, r_q, side="right"),
        output,
        ops.apply_block_diagonal(output, r_o, side="left"),
    )
    return torch.stack([ops.hyperspherical_energy(w) for w in weights])


@parity_runner("hclip", "dcrc", tolerance=gradient_tolerance, unused=WHOLE_MODEL)
def run_dcrc(case: ParityCase) -> Outputs:
    """Blocks that every layer gets in the released form, before the Cayley map."""
    sizes, weights, inputs = case.meta["sizes"], case.tensors("weights"), case.tensors()
    for tower in ("text", "vision"):
        case.require(f"sizes.b_{tower}", sizes[f"{tower}_width"] // sizes["q"])
    pop = PartialOrthogonal(
        TowerShape("text", sizes["text_width"], sizes["layers"]),
        TowerShape("vision", sizes["vision_width"], sizes["layers"]),
        POPSettings(block_size=sizes["q"], orthogonal="none"),
    )
    relation: CodeRelation = pop.relation
    with torch.no_grad():
        pop.blocks.copy_(weights["T"])
        relation.layers.copy_(weights["relation_l"])
        for i, matrix in enumerate(relation.slots):
            matrix.copy_(weights[f"relation_m.{i}"])
    out = {
        f"{tower}.{layer}": blocks[layer]
        for tower, blocks in pop().items()
        for layer in range(sizes["layers"])
    }
    sum((out[name] * inputs[f"cot.{name}"]).sum() for name in out).backward()
    out |= {"grad/T": pop.blocks.grad, "grad/relation_l": relation.layers.grad}
    return out | {f"grad/relation_m.{i}": g for i, g in enumerate(relation.slots.grad)}


@parity_runner("hclip", "dcrc_paper_form")
def run_paper_form(case: ParityCase) -> Outputs:
    """The printed relations; files have slots before layers, the package layers before slots."""
    weights, blocks = case.tensors("weights"), case.tensors()["T"].transpose(2, 3)
    slots, rows = weights["alpha"].shape
    linear = PaperRelation(rows, slots, nonlinear=False, alpha=1.0)
    nonlinear = PaperRelation(rows, slots, nonlinear=True, alpha=1.0)
    with torch.no_grad():
        for relation in (linear, nonlinear):
            for i, (slot, layer) in enumerate(zip(relation.slots, relation.layers, strict=True), 1):
                slot.copy_(weights[f"f3.W{i}"])
                layer.copy_(weights[f"f4.W{i}"])
        f3 = nonlinear.relate(blocks, nonlinear.slots, 4)
        out = {
            "T_w_linear": linear(blocks) - blocks,
            "f3": f3,
            "T_w": nonlinear.relate(f3, nonlinear.layers, 3),
        }
        nonlinear.alpha.copy_(weights["alpha"].T)
        out["T_new"] = nonlinear(blocks)
    return {name: x.transpose(2, 3) for name, x in out.items()}
