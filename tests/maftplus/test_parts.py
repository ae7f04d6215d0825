"""Transfer, compensation, mask-aware loss, mappers."""

import numpy as np
import pytest
import torch
from PIL import Image

from maftplus.compensation import Compensation
from maftplus.mappers import MaskPanopticMapper, large_scale_jitter
from maftplus.mask_aware_loss import mask_aware_loss
from maftplus.transfer import ContentTransfer
from ovs_core.data.segment_mapper import segments_of_labels
from ovs_core.engine.config import get_ovs_cfg
from ovs_core.errors import UserError
from ovs_core.modeling.mask2former import MaskTargets
from ovs_core.words.label_space import IGNORE, UNSEEN


def test_compensation_of_a_map_with_itself_is_zero():
    features = torch.randn(2, 3, 8, 8)
    assert Compensation()(features, features) == 0


def test_compensation_ignores_negative_entries():
    a, b = torch.randn(1, 3, 4, 6), torch.randn(1, 3, 4, 6)
    shifted = torch.where(a < 0, a - 5, a)
    assert torch.equal(Compensation()(a, b), Compensation()(shifted, b))


def test_text_rows_are_transferred_one_by_one():
    torch.manual_seed(0)
    transfer = ContentTransfer(16, heads=4)
    embedding, rows = torch.randn(2, 16, 3, 5), torch.randn(6, 16)
    order = torch.randperm(6)
    out = transfer(embedding, rows)
    torch.testing.assert_close(transfer(embedding, rows[order]), out[:, order])
    assert not torch.allclose(out[0], out[1])


def test_the_branch_form_starts_as_identity():
    transfer = ContentTransfer(16, heads=4, norm="branch")
    rows = torch.randn(6, 16)
    assert torch.equal(transfer(torch.randn(1, 16, 3, 5), rows)[0], rows)


def test_unknown_forms_are_refused():
    with pytest.raises(UserError, match="CDT_NORM"):
        ContentTransfer(16, heads=4, norm="pre")
    with pytest.raises(UserError, match="does not divide"):
        ContentTransfer(16, heads=5)


def test_mask_aware_loss_without_targets_is_zero_with_a_graph():
    logits = torch.randn(1, 4, 3, requires_grad=True)
    empty = [MaskTargets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 8, 8, dtype=torch.bool))]
    loss = mask_aware_loss(logits, torch.randn(1, 4, 4, 4), empty)
    loss.backward()
    assert loss == 0


def test_losses_of_half_precision_features_are_computed_in_float32():
    student, teacher = 20 * torch.rand(2, 3, 8, 64, 64)
    half = Compensation(distance="l1")(student.half(), teacher.half())  # sums overflow in float16
    whole = Compensation(distance="l1")(student.half().float(), teacher.half().float())
    assert half == whole and half.dtype == torch.float32
    logits, masks = torch.randn(1, 4, 3).bfloat16(), torch.randn(1, 4, 4, 4)
    truth = torch.zeros(1, 8, 8, dtype=torch.bool)
    truth[:, :4] = True
    targets = [MaskTargets(torch.tensor([1]), truth)]
    assert mask_aware_loss(logits, masks, targets) == mask_aware_loss(
        logits.float(), masks, targets
    )


def test_segments_of_labels():
    labels = torch.tensor([[3, 3, IGNORE], [1, UNSEEN, 3]])
    found = segments_of_labels(labels)
    assert found.gt_classes.tolist() == [1, 3]
    assert found.gt_masks.tensor.sum(dim=(1, 2)).tolist() == [1, 3]
    assert len(segments_of_labels(torch.full((2, 2), IGNORE))) == 0


def panoptic_record(tmp_path, segments):
    ids = np.zeros((20, 30), np.int64)
    ids[:10], ids[10:, :15] = 300, 7
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "pan.png")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "image.png")
    return {
        "file_name": str(tmp_path / "image.png"),
        "pan_seg_file_name": str(tmp_path / "pan.png"),
        "segments_info": segments,
    }


def panoptic_mapper(size=20):
    cfg = get_ovs_cfg()
    cfg.INPUT.IMAGE_SIZE, cfg.INPUT.MIN_SCALE, cfg.INPUT.MAX_SCALE = size, 1.0, 1.0
    cfg.INPUT.RANDOM_FLIP = "none"
    return MaskPanopticMapper(True, augmentations=large_scale_jitter(cfg))


def test_crowd_and_void_belong_to_no_segment(tmp_path):
    segments = [
        {"id": 300, "category_id": 2, "iscrowd": 1},
        {"id": 7, "category_id": 4, "iscrowd": 0},
    ]
    mapped = panoptic_mapper()(panoptic_record(tmp_path, segments))
    assert mapped["instances"].gt_classes.tolist() == [4]
    assert mapped["image"].shape == (3, 20, 20)
    assert mapped["instances"].gt_masks.tensor.any()


def test_a_picture_of_crowds_alone_has_no_segment(tmp_path):
    record = panoptic_record(tmp_path, [{"id": 300, "category_id": 2, "iscrowd": 1}])
    assert len(panoptic_mapper()(record)["instances"]) == 0


def test_a_void_id_in_the_segments_is_refused(tmp_path):
    record = panoptic_record(tmp_path, [{"id": 0, "category_id": 2}])
    with pytest.raises(UserError, match=r"pan\.png"):
        panoptic_mapper()(record)


def test_a_record_without_a_panoptic_map_is_refused(tmp_path):
    record = panoptic_record(tmp_path, [])
    del record["pan_seg_file_name"]
    with pytest.raises(UserError, match="MaskSemanticMapper"):
        panoptic_mapper()(record)
