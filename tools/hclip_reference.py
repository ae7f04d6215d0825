"""H-CLIP's evaluation forward written out as the method is described, for benchmark and tests.

Nothing is shared between words or layers, kept between calls or fused: every image block mixes the
whole shared tensor anew, guidance is repeated for every word, attention is two products and a
softmax, and the vocabulary is padded with copies of the learned token. It reads the parameters of a
``CATSeg`` with the released form's settings and gives the same logits.

Letters: B pictures, K words, D hidden width, q block side, M slots, R rows, n heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hclip import CATSeg
from hclip.adaptation import towers, unadapted
from hclip.pop import CodeRelation, PartialOrthogonal
from hclip.rotation import POPAdaptation
from ovs_core.clip.towers import Block
from ovs_core.modeling.cost_aggregation import AggregationLayer
from ovs_core.modeling.cost_upsampling import UpsampleStage
from ovs_core.modeling.cost_windows import SpatialAggregation, SwinBlock
from ovs_core.modeling.cost_words import ClassAttention


@torch.no_grad()
def reference_logits(model: CATSeg, images: Tensor) -> Tensor:
    """(B, 3, H, W) normalised pictures of the model's size -> (B, K, 4h, 4w) logits."""
    dense, *taps = _image_tower(model, images)
    guidance = [up(tap) for up, tap in zip(model.upsample, taps, strict=True)]
    return _decoder(model, dense, model.text_features()[:, 0], guidance)


def mixed_blocks(pop: PartialOrthogonal, layer: int) -> Tensor:
    """Mix the whole tensor, of which one layer keeps its four rows: (q, q, 4, M)."""
    assert isinstance(pop.relation, CodeRelation)
    mixed = torch.einsum("jm,abrm->abrj", pop.relation.slots[layer], pop.blocks)
    mixed = torch.einsum("sr,abrm->absm", pop.relation.layers, mixed)
    return mixed[:, :, 4 * layer : 4 * layer + 4]


def _image_tower(model: CATSeg, images: Tensor) -> list[Tensor]:
    """Dense features (B, E, h, w) and the outputs of the two guiding blocks (B, C, h, w)."""
    assert isinstance(model.adaptation, POPAdaptation)
    encoder = model.image_encoder
    tokens, grid = encoder.embed(images)
    blocks = towers(model.clip)["image"].resblocks
    taps = []
    for index, block in enumerate(blocks):
        weights = _rotated(model.adaptation.pop, block.attn, index)
        last = index == len(blocks) - 1
        tokens = (_value_block if last else _plain_block)(block, tokens, *weights)
        if index in model.guidance_layers:
            taps.append(_grid(tokens, grid))
    return [_grid(encoder.project(tokens), grid), *taps]


def _rotated(
    pop: PartialOrthogonal, attn: nn.MultiheadAttention, layer: int
) -> tuple[Tensor, Tensor]:
    """Adapted input (3C, C) and output (C, C) projections of an image block."""
    own = mixed_blocks(pop, layer)[..., pop.counts[0] :]  # (q, q, 4, slots of the image tower)
    dense = [torch.block_diag(*own[:, :, j].permute(2, 0, 1)) for j in range(4)]
    original = unadapted(attn, "in_proj_weight").chunk(3)
    projected = [w @ d for w, d in zip(original, dense[:3], strict=True)]
    return torch.cat(projected), dense[3] @ unadapted(attn.out_proj, "weight")


def _plain_block(block: Block, x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    attn = block.attn
    q, k, v = F.linear(block.ln_1(x), weight, attn.in_proj_bias).chunk(3, dim=-1)
    heads = _attention(*(_heads(t, attn.num_heads) for t in (q, k, v)))
    x = x + F.linear(heads, out, attn.out_proj.bias)
    return x + block.mlp(block.ln_2(x))


def _value_block(block: Block, x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """Values only, with the class token as everybody's residual."""
    values = F.linear(block.ln_1(x), weight, block.attn.in_proj_bias).chunk(3, dim=-1)[2]
    x = x[:, :1] + F.linear(values, out, block.attn.out_proj.bias)
    return x + block.mlp(block.ln_2(x))


def _decoder(model: CATSeg, dense: Tensor, text: Tensor, guidance: list[Tensor]) -> Tensor:
    decoder = model.decoder
    batch, words = len(dense), len(text)
    cost = torch.einsum("behw,ke->bkhw", F.normalize(dense, dim=1), F.normalize(text, dim=-1))
    kept, limit = None, decoder.settings.max_classes
    if limit and words > limit:
        kept = cost.amax(dim=(2, 3)).topk(limit, dim=1).indices  # (B, limit)
        cost = cost.gather(1, kept[..., None, None].expand(-1, -1, *cost.shape[2:]))
    chosen = F.normalize(text, dim=-1).expand(batch, -1, -1)
    if kept is not None:
        chosen = chosen.gather(1, kept[..., None].expand(-1, -1, text.shape[-1]))
    appearance = F.relu(decoder.appearance(dense)).permute(0, 2, 3, 1)
    linguistic = F.relu(decoder.text(F.normalize(chosen, dim=-1)))  # (B, K, G)
    details = [F.relu(conv(g)) for conv, g in zip(decoder.detail, guidance, strict=True)]
    count = cost.shape[1]
    x = decoder.embed(cost.reshape(-1, 1, *cost.shape[2:])).permute(0, 2, 3, 1)  # (B K, h, w, D)
    for layer in decoder.layers:
        assert isinstance(layer, AggregationLayer)
        x = _spatial(layer.spatial, x, appearance.repeat_interleave(count, dim=0))
        x = _classes(layer.classes, x.unflatten(0, (batch, count)), linguistic).flatten(0, 1)
    maps = x.permute(0, 3, 1, 2).contiguous()
    for stage, detail in zip(decoder.stages, details, strict=True):
        assert isinstance(stage, UpsampleStage)
        maps = _upsample(stage, maps, detail.repeat_interleave(count, dim=0))
    logits = decoder.head(maps)[:, 0].unflatten(0, (batch, count))
    if kept is None:
        return logits
    full = logits.new_full((batch, words, *logits.shape[2:]), -100.0)
    return full.scatter(1, kept[..., None, None].expand_as(logits), logits)


def _spatial(part: SpatialAggregation, x: Tensor, appearance: Tensor) -> Tensor:
    """Two Swin blocks on (B K, h, w, D)."""
    side, (height, width) = part.window, x.shape[1:3]
    grid = (height, width)
    shifts = (0, side // 2)
    if min(grid) <= side:
        side, shifts = min(grid), (0, 0)
    guidance = part.guidance_norm(appearance)
    for block, shift in zip(part.blocks, shifts, strict=True):
        assert isinstance(block, SwinBlock)
        y = block.norm1(x)
        both = torch.cat([y, guidance], dim=-1)
        y, both = (t.roll((-shift, -shift), dims=(1, 2)) for t in (y, both))
        y, both = (_windows(t, side) for t in (y, both))
        attn = block.attn
        q, k, v = (_heads(t, attn.heads) for t in (attn.q(both), attn.k(both), attn.v(y)))
        mask = _mask(grid, side, shift).repeat(len(x), 1, 1)[:, None] if shift else None
        y = attn.proj(_attention(q, k, v, mask))
        y = y.view(len(x), grid[0] // side, grid[1] // side, side, side, -1)
        y = y.transpose(2, 3).reshape(x.shape).roll((shift, shift), dims=(1, 2))
        x = x + y
        x = x + block.mlp[2](F.gelu(block.mlp[0](block.norm2(x))))
    return x


def _classes(part: ClassAttention, x: Tensor, words: Tensor) -> Tensor:
    """Linear attention over the words of each cell, (B, K, h, w, D) -> same shape."""
    batch, count, h, w, width = x.shape
    z, pooling = x.flatten(0, 1).permute(0, 3, 1, 2), part.pooling_test
    z = F.avg_pool2d(z, pooling).permute(0, 2, 3, 1).unflatten(0, (batch, count))
    shape = z.shape
    z = z.flatten(2, 3).transpose(1, 2)  # (B, cells, K, D)
    words = words[:, None].repeat(1, z.shape[1], 1, 1)
    missing = part.padded_to - count
    if missing > 0:
        z = torch.cat([z, part.padding_token.repeat(*z.shape[:2], missing, 1)], dim=2)
        more = part.padding_guidance.repeat(*z.shape[:2], missing, 1)
        words = torch.cat([words, more], dim=2)
    y = part.norm1(z)
    both = torch.cat([y, words], dim=-1)
    q, k, v = (_heads(t, part.heads) for t in (part.q(both), part.k(both), part.v(y)))
    q, k = F.elu(q) + 1, F.elu(k) + 1
    products = torch.einsum("...sd,...sv->...dv", k, v)
    scale = 1 / (torch.einsum("...ld,...d->...l", q, k.sum(dim=-2)) + 1e-6)
    attended = torch.einsum("...ld,...dv,...l->...lv", q, products, scale)
    z = z + attended.transpose(-3, -2).flatten(-2)
    z = z + part.mlp[2](F.relu(part.mlp[0](part.norm2(z))))
    z = z[:, :, :count].transpose(1, 2).reshape(shape).flatten(0, 1).permute(0, 3, 1, 2)
    z = F.interpolate(z, size=(h, w), mode="bilinear", align_corners=True)
    z = z.permute(0, 2, 3, 1).unflatten(0, (batch, count))
    return x + z


def _upsample(stage: UpsampleStage, maps: Tensor, guidance: Tensor) -> Tensor:
    maps = torch.cat([stage.up(maps), guidance], dim=1)
    maps = F.relu(stage.norm1(stage.conv1(maps)))
    return F.relu(stage.norm2(stage.conv2(maps)))


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """(..., n, L, d) -> (..., L, n * d)."""
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits + mask
    return (logits.softmax(dim=-1) @ v).transpose(-3, -2).flatten(-2)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def _windows(x: Tensor, side: int) -> Tensor:
    """(N, h, w, C) -> (N * windows, side^2, C)."""
    n, h, w, c = x.shape
    x = x.view(n, h // side, side, w // side, side, c).transpose(2, 3)
    return x.reshape(-1, side * side, c)


def _mask(grid: tuple[int, int], side: int, shift: int) -> Tensor:
    """(windows, side^2, side^2): -100 between regions that the shift brought together."""
    regions = torch.zeros(1, *grid, 1)
    cuts = (slice(0, -side), slice(-side, -shift), slice(-shift, None))
    for index, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
        regions[:, rows, columns] = index
    flat = _windows(regions, side)[..., 0]
    return (flat[:, :, None] != flat[:, None, :]) * -100.0


def _grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
