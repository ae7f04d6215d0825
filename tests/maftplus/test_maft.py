"""MAFT: IP-CLIP computed again in another way, its losses, its two stages."""

import copy
import math

import open_clip
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances
from torch.nn import functional as F

from maftplus.maft.ensemble import ensemble_weights
from maftplus.maft.ip_clip import ProposalEncoder
from maftplus.maft.model import tuned_parts
from ovs_core.clip.architectures import model_config
from ovs_core.engine.checkpoint import OVSCheckpointer
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.engine.trainer import set_test_words, set_training_words
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.modeling.checkpoint import trained_state
from ovs_core.modeling.global_batch import GlobalBatch
from ovs_core.modeling.mask2former import MaskScores
from parity.maftplus.maft import tiny_vit_clip

OTHER = {"native": 24, "patch": 8, "width": 24, "layers": 5, "heads": 3, "embed": 20, "start": 3}
SMALL = [
    "MODEL.DEVICE", "cpu", "MODEL.MAFT.CLIP_SIZE", "64", "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES",
    "6", "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64",
]  # fmt: skip


def tower(**changes):
    torch.manual_seed(1)
    config = {**OTHER, **changes}
    visual = tiny_vit_clip(config).visual
    for parameter in visual.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return visual, config


def naive_masks(visual, config, images, masks):
    """The definition: one ordinary block after the other, with PyTorch's own attention module."""
    grid = tuple(side // config["patch"] for side in images.shape[-2:])
    table = visual.positional_embedding
    side = config["native"] // config["patch"]
    places = table[1:].t().reshape(1, -1, side, side)
    places = F.interpolate(places, size=grid, mode="bicubic", align_corners=True)
    x = visual.conv1(images).flatten(2).transpose(1, 2) + places.flatten(2).transpose(1, 2)
    first = (visual.class_embedding + table[0]).expand(len(x), 1, -1)
    x, count = visual.ln_pre(torch.cat([first, x], dim=1)), masks.shape[1]
    small = F.interpolate(masks, size=grid, mode="bilinear", align_corners=False).flatten(2)
    blocked = torch.ones(len(x), count + small.shape[-1], count + small.shape[-1])
    for b in range(len(x)):
        for i in range(len(blocked[b])):
            for j in range(len(blocked[b])):
                if j >= count:
                    free = i >= count or small[b, i, j - count] >= 0.5
                else:
                    free = i == j
                blocked[b, i, j] = 0 if free else 1
    blocked = blocked.bool().repeat_interleave(config["heads"], dim=0)
    for index, block in enumerate(visual.transformer.resblocks):
        if index == config["start"]:
            x = torch.cat([x[:, :1].repeat(1, count, 1), x[:, 1:]], dim=1)
        y = block.ln_1(x)
        mask = blocked if index >= config["start"] else None
        x = x + block.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        x = x + block.mlp(block.ln_2(x))
    return visual.ln_post(x[:, :count]) @ visual.proj


@pytest.mark.parametrize("start", [0, 3])
def test_masks_are_embedded_as_defined(start):
    visual, config = tower(start=start)
    images = torch.randn(2, 3, 40, 32)
    masks = torch.rand(2, 4, 21, 33)
    masks[0, 2] = 0.4  # reaches no patch
    with torch.no_grad():
        ours = ProposalEncoder(visual, start=start).embed_masks(images, masks)
        theirs = naive_masks(visual, config, images, masks)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_mask_without_a_patch_sees_nothing_of_the_picture():
    visual, _ = tower()
    encoder = ProposalEncoder(visual, start=0)
    masks = torch.zeros(2, 1, 5, 5)
    with torch.no_grad():
        blind = encoder.embed_masks(torch.randn(2, 3, 32, 32), masks)
        seeing = encoder.embed_masks(torch.randn(2, 3, 32, 32), masks + 1)
    torch.testing.assert_close(blind[0], blind[1])
    assert not torch.allclose(seeing[0], seeing[1], atol=0.01)


def test_a_full_mask_sees_what_the_class_token_sees():
    """Patches cannot see class tokens, so that of a picture differs; from the last block on not."""
    visual, config = tower()
    encoder = ProposalEncoder(visual, start=config["layers"] - 1)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        found = encoder.embed_masks(images, torch.ones(1, 3, 4, 4))
        whole = encoder.embed_pictures(images)
    torch.testing.assert_close(found, whole[:, None].expand_as(found), atol=1e-5, rtol=1e-4)


def test_a_block_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match=r"START_LAYER: block 5 .* 5 blocks"):
        ProposalEncoder(tower()[0], start=5)


@pytest.mark.parametrize(
    ("architecture", "count"),
    [("ViT-B-16-quickgelu", 28_386_816), ("ViT-L-14-quickgelu", 100_861_952)],
)
def test_the_number_of_tuned_weights_is_the_published_one(architecture, count):
    fields = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
    settings = {k: v for k, v in model_config(architecture).items() if k in fields}
    with torch.device("meta"):
        visual = open_clip.CLIP(**settings).visual
    parts = tuned_parts(visual)
    assert sum(p.numel() for part in parts for p in part.parameters()) == count


def test_the_ensemble_is_computed_as_defined():
    torch.manual_seed(0)
    network, own = torch.randn(1, 4, 6), torch.randn(1, 4, 6)
    reached = torch.tensor([[True, False, True, True]])
    trained, weight = [True, False, False, True, True], 0.3
    found = ensemble_weights(network, own, reached, trained, weight=weight)
    for q in range(4):
        inside, outside = network[0, q].exp(), own[0, q, :5].exp()
        for k in range(5):
            a = float(inside[k] / inside.sum())
            b = float(outside[k] / outside.sum()) if reached[0, q] else 1.0
            w = weight if trained[k] else 1 - weight
            assert math.isclose(float(found[0, q, k]), a**w * b ** (1 - w), rel_tol=1e-5)


def test_masks_reach_the_picture_with_their_corners():
    torch.manual_seed(0)
    masks, weights = torch.randn(5, 9, 7), torch.rand(5, 3)
    canvas, valid, size = (64, 96), (50, 90), (33, 41)
    logits = torch.zeros(5, 4)
    scores = MaskScores(logits, masks, canvas, valid, size, align_corners=True, weights=weights)
    soft = F.interpolate(masks[None], canvas, mode="bilinear", align_corners=True)[0].sigmoid()
    maps = torch.einsum("qk,qhw->khw", weights, soft[:, : valid[0], : valid[1]])
    wanted = F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(scores.full(), wanted, atol=1e-5, rtol=1e-4)
    assert (scores.labels() == wanted.argmax(0)).float().mean() > 0.999
    assert not torch.allclose(scores.full(), MaskScores(
        logits, masks, canvas, valid, size, weights=weights).full(), atol=0.01)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A first stage with random weights, saved as its run would, and its path."""
    torch.manual_seed(0)
    cfg = load_cfg(find_config("maftplus/maft_proposals_tiny"), SMALL)
    stage = build_model(cfg)
    folder = tmp_path_factory.mktemp("stage")
    OVSCheckpointer(stage, str(folder)).save("model_final")
    return cfg, stage, str(folder / "model_final.pth")


def second_stage(world, *options):
    torch.manual_seed(1)
    keys = [*SMALL, "MODEL.MAFT.PROPOSALS", world[2], *options]
    cfg = load_cfg(find_config("maftplus/maft_tiny"), keys)
    model = build_segmenter(cfg)
    set_training_words(cfg, model)
    return cfg, model


def sample(seed, labels, size=(96, 128)):
    generator = torch.Generator().manual_seed(seed)
    instances = Instances(size)
    instances.gt_classes = torch.tensor(labels, dtype=torch.int64)
    instances.gt_masks = BitMasks(torch.rand(len(labels), *size, generator=generator) > 0.5)
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": instances, "file_name": "a.png"}


def test_the_first_stage_trains_and_segments(world):
    cfg, stage, _ = world
    stage = copy.deepcopy(stage).train()
    set_training_words(cfg, stage)
    losses = stage([sample(0, [3, 8]), sample(1, [])])
    sum(losses.values()).backward()
    trained = {n for n, p in stage.named_parameters() if p.requires_grad}
    assert {n for n, p in stage.named_parameters() if p.grad is not None} == trained
    assert trained and not any(n.startswith("clip.") for n in trained)
    set_test_words(cfg, stage, cfg.DATASETS.TEST[0])
    labels = stage.eval()([{"image": sample(0, [])["image"]}])[0]["sem_seg_labels"]
    assert labels.shape == (96, 128)


def test_the_second_stage_trains_attention_and_norms_of_clip_alone(world):
    _, model = second_stage(world)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    losses = model.train()([sample(0, [3, 8]), sample(1, [])])
    assert losses["dis_loss"] < 1e-12 < losses["ma_loss"]  # nothing was tuned yet
    sum(losses.values()).backward()
    found = {n for n, p in model.named_parameters() if p.grad is not None}
    assert found == {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(
        n.startswith("clip.model.visual.ln_post.")
        or (n.startswith("clip.model.visual.transformer.resblocks.")
            and n.split(".")[6] in ("attn", "ln_1", "ln_2"))
        for n in found
    )  # fmt: skip
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3).step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved <= found and len(moved) > len(found) // 2
    assert model.train()([sample(0, [3, 8])])["dis_loss"] > 1e-9


def test_tuning_makes_scores_follow_the_masks(world):
    _, model = second_stage(world)
    batch = [sample(0, [3, 8]), sample(1, [5])]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        found = model.train()(batch)
        sum(found.values()).backward()
        optimizer.step()
        losses.append(float(found["ma_loss"].detach()))
    assert losses[-1] < losses[0]


def test_a_batch_without_segments_teaches_the_distillation_alone(world):
    _, model = second_stage(world)
    losses = model.train()([sample(0, [])])
    sum(losses.values()).backward()
    assert losses["ma_loss"] == 0


def test_parts_of_a_step_make_the_step(world):
    _, model = second_stage(world)
    model.train()
    for parameter in model.encoder.tower.visual.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    batch = [sample(0, [3, 8]), sample(1, []), sample(2, [5], size=(64, 160))]
    whole = model(batch)
    sizes = [{"size": tuple(one["image"].shape[-2:])} for one in batch]
    facts = [{**a, **b} for a, b in zip(sizes, model.facts(batch), strict=True)]
    parts = []
    for start, stop in ((0, 2), (2, 3)):
        with model.part_of(GlobalBatch(facts, start, stop - start)):
            found = model(batch[start:stop])
        parts.append({name: loss * (stop - start) / 3 for name, loss in found.items()})
    for name, loss in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), loss, rtol=1e-4, atol=1e-9)


def test_its_checkpoint_holds_the_proposals(world, tmp_path):
    _, model = second_stage(world)
    assert not any("original" in name for name in trained_state(model))
    OVSCheckpointer(model, str(tmp_path)).save("model_final")
    path = str(tmp_path / "model_final.pth")
    cfg = load_cfg(find_config("maftplus/maft_tiny"), [*SMALL, "MODEL.WEIGHTS", path])
    torch.manual_seed(7)
    again = build_segmenter(cfg)
    assert again.proposals.trained
    state = again.state_dict()
    assert all(torch.equal(state[n], value) for n, value in model.state_dict().items())
    answers = []
    for one in (model, again):
        one.eval().set_vocabulary(["sky", "grass", "car"])
        answers.append(one([{"image": sample(0, [])["image"]}])[0]["sem_seg_labels"])
    assert torch.equal(*answers)
    assert again._original is None  # the second CLIP is for training


def test_random_proposals_are_not_trained_on(world):
    cfg = load_cfg(find_config("maftplus/maft_tiny"), SMALL)
    model = build_segmenter(cfg)
    set_training_words(cfg, model)
    with pytest.raises(UserError, match=r"MODEL\.MAFT\.PROPOSALS is empty"):
        model.train()([sample(0, [3])])


def test_other_proposals_are_refused(world, tmp_path):
    with pytest.raises(UserError, match="does not fit this config's proposal network"):
        second_stage(world, "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", "1")
    with pytest.raises(UserError, match="no such checkpoint"):
        second_stage((None, None, str(tmp_path / "none.pth")))
    data = torch.load(world[2], weights_only=True)
    torch.save({**data, "architecture": "MAFTPlus"}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="no checkpoint of MAFT's first stage"):
        second_stage((None, None, str(tmp_path / "other.pth")))
    data["clip"]["text_fingerprint"] = "0"
    torch.save(data, tmp_path / "clip.pth")
    with pytest.raises(UserError, match="was trained on CLIP"):
        second_stage((None, None, str(tmp_path / "clip.pth")))


def test_a_backbone_that_gives_too_little_is_refused():
    options = [*SMALL, "MODEL.RESNETS.OUT_FEATURES", "['res4','res5']"]
    with pytest.raises(UserError, match=r"OUT_FEATURES.*res2 to res5"):
        build_model(load_cfg(find_config("maftplus/maft_tiny"), options))


def test_a_backbone_is_loaded_by_its_own_names(world, tmp_path):
    torch.manual_seed(5)
    stage = build_model(load_cfg(find_config("maftplus/maft_proposals_tiny"), SMALL))
    torch.save(stage.proposals.backbone.state_dict(), tmp_path / "r18.pth")
    options = [*SMALL, "MODEL.MAFT.BACKBONE_WEIGHTS", str(tmp_path / "r18.pth")]
    other = build_model(load_cfg(find_config("maftplus/maft_proposals_tiny"), options))
    state = other.proposals.backbone.state_dict()
    assert all(
        torch.equal(state[n], value) for n, value in stage.proposals.backbone.state_dict().items()
    )
    with pytest.raises(UserError, match=r"BACKBONE_WEIGHTS .*no such file"):
        build_model(load_cfg(find_config("maftplus/maft_proposals_tiny"),
                             [*SMALL, "MODEL.MAFT.BACKBONE_WEIGHTS", "nowhere.pth"]))  # fmt: skip


def test_who_was_trained_is_the_dataset_s_to_say(world):
    _, model = second_stage(world, "MODEL.MAFT.ENSEMBLE_WEIGHT", "0.7")
    model.eval().set_vocabulary(["sky", "grass", "car"])
    assert model.trained_classes() == [False] * 3
    image = sample(0, [])["image"]
    first = model.segment(image, (96, 128)).full()
    model.set_vocabulary(["sky", "grass", "car"], unseen=[1])
    assert model.trained_classes() == [True, False, True]
    assert not torch.allclose(first, model.segment(image, (96, 128)).full())
