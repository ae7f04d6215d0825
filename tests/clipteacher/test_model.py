"""The meta-architecture: losses, switches, wrong input, export, own students, the bank."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from clipteacher.build import build_student
from clipteacher.export import ExportedStudent, load_student
from clipteacher.figures import training_sheet
from clipteacher.students import STUDENT_REGISTRY
from ovs_core.errors import UserError
from ovs_core.modeling.batch_norm import GroupedBatchNorm, SharedBatchNorm
from ovs_core.modeling.checkpoint import trained_state
from ovs_core.words.label_space import IGNORE

ROOT = Path(__file__).parents[2]
LOSSES = {"loss_global", "loss_ce", "loss_focal", "loss_dice", "loss_generate"}


def test_a_step_gives_all_losses_and_every_trained_tensor_a_gradient(tiny_model, samples):
    model = tiny_model().train()
    losses = model(samples())
    assert set(losses) == LOSSES
    sum(losses.values()).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all(p.grad is None for p in model.clip.parameters())
    assert not model.clip.model.training


@pytest.mark.parametrize(
    "options, gone",
    [
        (["MODEL.CLIPTEACHER.GLM.ENABLED", "False"], {"loss_global"}),
        (["MODEL.CLIPTEACHER.LOSS.CE", "0."], {"loss_ce"}),
        (
            ["MODEL.CLIPTEACHER.LOSS.FOCAL", "0.", "MODEL.CLIPTEACHER.LOSS.DICE", "0."],
            {"loss_focal", "loss_dice"},
        ),
        (["MODEL.CLIPTEACHER.LOSS.GENERATE", "0."], {"loss_generate"}),
        (["MODEL.CLIPTEACHER.PLM.ENABLED", "False"], set()),
        (["MODEL.CLIPTEACHER.VLA.TYPE", "mlp"], set()),
        (["MODEL.CLIPTEACHER.VLA.TYPE", "identity", "MODEL.CLIPTEACHER.GLM.POOL", "max"], set()),
    ],
)
def test_switches_of_the_ablation_tables(tiny_model, samples, options, gone):
    losses = tiny_model(*options).train()(samples())
    assert set(losses) == LOSSES - gone


def test_without_pixel_losses_nothing_is_clustered(tiny_model, samples, monkeypatch):
    names = ("CE", "FOCAL", "DICE", "GENERATE")
    options = [part for name in names for part in (f"MODEL.CLIPTEACHER.LOSS.{name}", "0.")]
    model = tiny_model(*options).train()
    monkeypatch.setattr(type(model.objective), "pixels", None)
    losses = model(samples())
    assert set(losses) == {"loss_global"}
    losses["loss_global"].backward()
    assert all(p.grad is not None for p in model.objective.adapter.parameters())


@pytest.mark.parametrize("value", [0, IGNORE])
def test_all_labelled_and_nothing_labelled(tiny_model, samples, value):
    model, given = tiny_model().train(), samples()
    for one in given:
        one["sem_seg"].fill_(value)
    pixels = model.steps(given)[0].pixels
    losses = model(given)
    assert all(value.isfinite() for value in losses.values())
    assert bool(pixels.labels.kept.sum()) == (value == IGNORE)
    if value == IGNORE:
        assert losses["loss_generate"] == 0


def test_pictures_of_different_sizes_are_padded_and_padding_is_no_object(tiny_model, samples):
    model = tiny_model().train()
    given = [*samples(1, (64, 64)), *samples(1, (40, 56))]
    batch = model.batch(given)
    assert batch.labels.shape == (2, 64, 64)
    assert batch.padding[1, 40:].all() and batch.padding[1, :, 56:].all()
    full = model.steps(given)[0].pixels.labels.full
    assert (full[batch.padding] == -1).all()


def test_unseen_and_out_of_range_labels(tiny_model, samples):
    model, given = tiny_model().train(), samples()
    given[0]["sem_seg"][:, 40:] = 3  # unseen: as unlabelled
    assert (model.batch(given).labels[0] == -1).all(dim=0)[40:].all()
    given[0]["sem_seg"][0, 0] = 9
    with pytest.raises(UserError, match="label 9 is neither one of the 4 classes"):
        model(given)


def test_gamma_raises_unseen_pixels_and_only_them(tiny_model, samples):
    model, picture = tiny_model().eval(), samples(1)[0]["image"]
    counts = []
    for gamma in (0.0, 1.5, 1e4):
        model.gamma = gamma
        counts.append(int((model([{"image": picture}])[0]["sem_seg_labels"] == 3).sum()))
    assert counts == sorted(counts) and counts[-1] == picture[0].numel()


def test_bank_is_part_of_the_run_but_not_of_the_weights(tiny_model, samples):
    model = tiny_model().train()
    model(samples())
    assert len(model.objective.glm.bank) == 1
    model.eval()([{"image": samples()[0]["image"]}])
    assert len(model.objective.glm.bank) == 1
    assert not any("bank" in name or name.startswith("clip") for name in trained_state(model))
    other = tiny_model().train()
    other.load_run_state(model.run_state())
    first, second = (m.train().losses(samples(seed=5))["loss_global"] for m in (model, other))
    assert first == second


def test_exported_student_gives_the_same_labels_without_clip(
    tiny_model, tiny_cfg, samples, tmp_path
):
    model, picture = tiny_model().eval(), samples(1, (48, 72))[0]["image"]
    exported = model.export_own(tmp_path / "student.pth", tiny_cfg())
    assert isinstance(exported, ExportedStudent)
    labels = model([{"image": picture, "height": 50, "width": 70}])[0]["sem_seg_labels"]
    assert torch.equal(exported(picture, (50, 70)), labels)
    assert not any("visual" in name for name in exported.state_dict())
    assert exported.names == ("cat", "dog", "sky", "grass")
    with pytest.raises(UserError, match="no exported student"):
        torch.save({"model": {}}, tmp_path / "other.pth")
        load_student(tmp_path / "other.pth")


def test_own_segmenter_of_the_readme(tiny_cfg, tiny_model, samples):
    text = (ROOT / "projects/clipteacher/README.md").read_text()
    (code,) = re.findall(r"```python\n(# my_student.py.*?)```", text, flags=re.DOTALL)
    known = STUDENT_REGISTRY._obj_map
    others = known.pop("my_student", None)  # a run of the README's command keeps its own
    exec(compile(code, "my_student.py", "exec"), {})
    try:
        model = tiny_model("MODEL.CLIPTEACHER.STUDENT.NAME", "my_student").train()
        assert isinstance(model.student.projection, nn.Conv2d)  # 64 channels against 128
        before = [p.detach().clone() for p in model.student.parameters()]
        optimizer = torch.optim.AdamW(model.student.parameters(), lr=1e-3)
        sum(model(samples()).values()).backward()
        optimizer.step()
        after = list(model.student.parameters())
        assert not any(map(torch.equal, before, after))
    finally:
        known.pop("my_student", None)
        if others is not None:
            known["my_student"] = others


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("STUDENT.NAME", "segfromer_b0", "'segfromer_b0' is unknown. Did you mean 'segformer'"),
        ("STUDENT.NAME", "segnext_x", "'segnext_x' is unknown.*Choices: segnext_t"),
        ("STUDENT.IMPORT", "['no_such_module']", "cannot import 'no_such_module'"),
        ("GLM.POOL", "atention", "Did you mean 'attention'"),
        ("VLA.HEADS", "7", "divide the feature width"),
        ("PLM.DISTANCE", "cosin", "Did you mean 'cosine'"),
    ],
)
def test_wrong_settings(tiny_cfg, key, value, message):
    with pytest.raises(UserError, match=message):
        build_model(tiny_cfg(f"MODEL.CLIPTEACHER.{key}", value))


def test_training_sheet_shows_every_sample(tiny_model, samples):
    model = tiny_model().eval()
    given = [*samples(1), *samples(1, (40, 56))]
    given[1]["sem_seg"].fill_(0)  # nothing unlabelled
    picture = training_sheet(model, given)
    assert picture.dtype == np.uint8 and picture.shape[1] > 6 * 256 and picture.shape[0] > 2 * 160
    model.objective.potential = None
    with pytest.raises(UserError, match="PLM.ENABLED is False"):
        training_sheet(model, given)


def test_batch_norms_are_over_a_step_or_over_a_group(tiny_cfg, monkeypatch):
    def kinds(cfg):
        return {type(m) for m in build_student(cfg, 128).modules() if "BatchNorm" in str(type(m))}

    cfg = tiny_cfg()
    assert kinds(cfg) == {nn.BatchNorm2d}
    monkeypatch.setattr("clipteacher.build.comm.get_world_size", lambda: 2)
    assert kinds(cfg) == {SharedBatchNorm}  # torch has one on accelerators only
    cfg.MODEL.DEVICE = "cuda"
    assert kinds(cfg) == {nn.SyncBatchNorm}
    cfg.MODEL.CLIPTEACHER.STUDENT.SYNC_BN = False
    assert kinds(cfg) == {GroupedBatchNorm}
