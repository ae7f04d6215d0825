"""The component switches of MAFT+: transfer, trunk, compensation and its options, drop path."""

import importlib.util
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage
from safetensors.torch import save_file
from torch.nn import functional as F

from maftplus.compensation import Compensation
from ovs_core.engine.config import load_cfg
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.engine.run import build_segmenter
from ovs_core.engine.trainer import Trainer
from ovs_core.errors import UserError
from ovs_core.files.digests import file_digest
from ovs_core.methods.configs import find_config
from parity.maftplus.tiny_models import vocabulary

spec = importlib.util.spec_from_file_location(
    "maftplus_conftest", Path(__file__).with_name("conftest.py")
)
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
training_sample = helpers.training_sample


def by_hand(student, teacher, scales, preparation, distance):
    """Strips one by one, as the definition says."""
    prepare = {"relu": lambda x: x.clamp(min=0), "none": lambda x: x, "pow": lambda x: x * x}
    descriptors = []
    for features in (student, teacher):
        height, width = features.shape[-2:]
        x = prepare[preparation](features)
        if height != width:
            x = F.interpolate(x, size=(max(height, width),) * 2, mode="bilinear")
        numbers = []
        for scale in scales:
            side = width // scale
            cells = x.unfold(2, side, side).unfold(3, side, side).mean(dim=(-1, -2))
            numbers += [cells.sum(2).flatten(1), cells.sum(3).flatten(1)]
        descriptors.append(torch.cat(numbers, 1))
    gap = (descriptors[0] - descriptors[1]).abs()
    if distance == "sl1":
        return torch.where(gap < 1, gap * gap / 2, gap - 0.5).mean()
    return {"l1": gap.sum(1), "frobenius": (gap * gap).sum(1).sqrt()}[distance].mean()


@pytest.mark.parametrize("preparation", ["relu", "none", "pow"])
@pytest.mark.parametrize("distance", ["sl1", "l1", "frobenius"])
@pytest.mark.parametrize(
    ("size", "scales"), [((9, 9), (1, 3)), ((7, 12), (2, 4, 8)), ((13, 6), (1, 2, 5))]
)
def test_compensation_by_every_option(size, scales, preparation, distance):
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(2, 3, 5, *size)
    found = Compensation(scales, preparation, distance)(student, teacher)
    wanted = by_hand(student, teacher, scales, preparation, distance)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("distance", ["sl1", "l1", "frobenius"])
def test_equal_trunks_give_a_finite_gradient(distance):
    features = torch.randn(1, 3, 8, 8, requires_grad=True)
    Compensation(distance=distance)(features, features.detach()).backward()
    assert torch.isfinite(features.grad).all()


def test_unknown_options_are_refused():
    with pytest.raises(UserError, match="RC_PREPARATION"):
        Compensation(preparation="abs")
    with pytest.raises(UserError, match="RC_DISTANCE"):
        Compensation(distance="kl")
    with pytest.raises(UserError, match="256 pixels"):
        Compensation((2, 4, 8))(torch.zeros(1, 1, 8, 7), torch.zeros(1, 1, 8, 7))


def test_without_the_transfer_masks_are_compared_with_the_rows(make, picture):
    model = make("maftplus", cdt=False).eval()
    model.set_vocabulary(vocabulary(["dog,puppy", "lake"]))
    with torch.no_grad():
        encoded = model.encode_picture(picture)
        rows, index = model.rows()
        plain = model.clip_scores(encoded.mask_embedding, rows, index)
        found = model.transferred_scores(
            encoded.dense, encoded.prediction.masks, encoded.mask_embedding
        )
        torch.testing.assert_close(found, plain)
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(len(rows)))
        assert model([{"image": picture}])[0]["sem_seg"].shape[0] == 2
    assert not any(name.startswith("transfer") for name in model.state_dict())


def test_a_frozen_trunk_learns_nothing_and_needs_no_teacher(make, picture):
    model = make("maftplus", tuned=False).train()
    losses = model([training_sample(picture, [0, 2])])
    sum(losses.values()).backward()
    assert "rc_loss" not in losses and not model.has_teacher
    learning = {n for n, p in model.named_parameters() if p.grad is not None}
    assert not any(n.startswith("clip.") for n in learning)
    assert any(n.startswith("transfer.") for n in learning)


def test_without_transfer_and_tuning_the_head_still_learns(make, picture):
    model = make("maftplus", tuned=False, cdt=False).train()
    sum(model([training_sample(picture, [0])]).values()).backward()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n, p in model.named_parameters() if p.grad is not None} == trained


def test_weight_zero_means_no_compensation(make, picture):
    model = make("maftplus", rc_weight=0.0).train()
    assert "rc_loss" not in model([training_sample(picture, [0])])
    assert not model.has_teacher


def test_published_drop_path_begins_with_the_teacher_s(make, picture):
    model = make("maftplus")
    model.drop_path, model.drop_path_switch = "published", 3
    batch = [training_sample(picture, [0])]
    passes = []
    model.encoder.trunk_modules()[0].register_forward_hook(lambda *_: passes.append(1))
    for iteration, stochastic in ((2, False), (3, True), (7, True)):
        with EventStorage(iteration):
            passes.clear()
            model.train()(batch)
            trunk = [m.training for t in model.encoder.trunk_modules() for m in t.modules()]
            assert all(trunk) if stochastic else not any(trunk)
            assert len(passes) == 1 + stochastic  # the head sees another random pass
        assert all(m.training for m in model.teacher.visual.modules())
    assert not any(m.training for m in model.eval().modules())


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("head_only", {"CDT": False, "TUNE_TRUNK": False}),
        ("tuned_only", {"CDT": False, "RC_WEIGHT": 0.0}),
        ("no_transfer", {"CDT": False}),
        ("frozen_trunk", {"TUNE_TRUNK": False}),
        ("no_compensation", {"RC_WEIGHT": 0.0}),
        ("drop_path", {"DROP_PATH": "published"}),
        ("spatial_transfer", {"CDT_LAYOUT": "spatial"}),
    ],
)
def test_an_ablation_changes_what_it_names(name, keys):
    base = load_cfg(find_config("maftplus/maftplus_base"))
    cfg = load_cfg(find_config(f"maftplus/ablations/maftplus_base_{name}"))
    base.MODEL.MAFTPLUS.update(keys)
    base.OUTPUT_DIR, base.CONFIG_FILE = cfg.OUTPUT_DIR, cfg.CONFIG_FILE
    assert cfg == base


def test_switches_reach_the_model_from_the_config():
    keys = {"TUNE_TRUNK": False, "CDT": False, "RC_SCALES": [2, 4], "RC_PREPARATION": "pow",
            "RC_DISTANCE": "l1", "DROP_PATH": "published", "DROP_PATH_SWITCH": 70}  # fmt: skip
    options = [text for k, v in keys.items() for text in (f"MODEL.MAFTPLUS.{k}", str(v))]
    cfg = load_cfg(find_config("maftplus/tiny"), ["MODEL.DEVICE", "cpu", *options])
    model = build_segmenter(cfg)
    assert model.transfer is None and model.compensation == Compensation((2, 4), "pow", "l1")
    assert (model.drop_path, model.drop_path_switch) == ("published", 70)
    build_optimizer(cfg, model)
    assert not any(p.requires_grad for p in model.clip.parameters())


@pytest.mark.parametrize("config", ["tiny", "tiny_fcclip"])
def test_a_training_begins_from_the_queries_of_a_file(config, tmp_path):
    path = tmp_path / "queries.safetensors"
    options = ["MODEL.DEVICE", "cpu", "MODEL.MASK_FORMER.QUERY_INIT", str(path)]
    cfg = load_cfg(find_config(f"maftplus/{config}"), options)
    model = Trainer.build_model(cfg)
    shape = (1, cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES, cfg.MODEL.MASK_FORMER.HIDDEN_DIM)
    made = torch.randn(shape)
    save_file({"query_embed": made}, path)
    positions = model.decoder.query_embed.weight.clone()
    model.begin_training()
    assert torch.equal(model.decoder.query_feat.weight, made[0])
    assert torch.equal(model.decoder.query_embed.weight, positions)
    assert model.run_state() == {"query_init": file_digest(path)}
    save_file({"query_embed": made[:, 1:].contiguous()}, path)
    with pytest.raises(UserError, match=r"MASK_FORMER.QUERY_INIT: .*NUM_OBJECT_QUERIES"):
        model.begin_training()
