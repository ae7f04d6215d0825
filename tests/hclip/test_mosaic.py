"""The first stage of the detector: mosaics, their contrast, and what the detector takes over."""

import pytest
import torch
from detectron2.modeling import build_model

from hclip.build import finetune_settings
from hclip.mosaic.arrangement import arrange, cell_boxes, mosaic_of
from hclip.mosaic.build import MosaicSettings
from hclip.mosaic.contrast import contrastive_loss
from ovs_core.data.build import build_mapper, dataset_dicts
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import run
from ovs_core.errors import UserError
from ovs_core.methods.projects import config_dir
from ovs_core.modeling.checkpoint import read_checkpoint
from tests.ovs_core.engine import splits

FOLDER = config_dir("hclip") / "detection"
TINY = FOLDER / "mosaic_tiny.yaml"
RANDOM = ["MODEL.CLIP.PRETRAINED", "random"]
SMALL = [
    "MODEL.HCLIP_MOSAIC.GRIDS", "[2]", "MODEL.HCLIP_MOSAIC.CANVAS", "64",
    "MODEL.HCLIP_MOSAIC.PICTURE_SIZE", "32", "MODEL.HCLIP_MOSAIC.PICTURES_PER_GROUP", "6",
]  # fmt: skip


def test_a_group_is_shared_out_as_released():
    arrangement = arrange(256, 128, (2, 3, 4))
    sizes = [len(mosaic) for mosaic in arrangement.mosaics]
    assert sizes == 2 * (4 * [4] + 4 * [9] + 4 * [16])
    assert arrangement.alone == (*range(116, 128), *range(244, 256))
    assert sorted(arrangement.order) == list(range(256)) and arrangement.mosaics[12][0] == 128
    assert arrange(5, 6, (2,)).alone == (4,) and not arrange(3, 6, (2,)).mosaics


def test_each_picture_lies_in_the_box_of_its_cell():
    values = torch.arange(9.0)
    mosaic = mosaic_of(values[:, None, None, None].expand(9, 3, 10, 10), 96)
    assert mosaic.shape == (3, 96, 96)
    for value, box in zip(values, cell_boxes(3, 96), strict=True):
        left, top, right, bottom = box.int().tolist()
        cell = mosaic[:, top + 4 : bottom - 4, left + 4 : right - 4]
        assert (cell - value).abs().max() < 0.1
    assert cell_boxes(3, 64)[5].tolist() == pytest.approx([128 / 3, 64 / 3, 64, 128 / 3])


def test_the_contrast_is_symmetric_and_falls_with_agreement():
    pictures, captions = torch.eye(4)[:, :3], torch.eye(4)[:, :3]
    scale = torch.tensor(10.0)
    matched = contrastive_loss(pictures[:3], captions[:3], scale)
    assert matched == pytest.approx(float(torch.log1p(2 * torch.exp(-scale))), rel=1e-3)
    crossed = contrastive_loss(pictures[:3], captions[[1, 2, 0]], scale)
    assert crossed == pytest.approx(float(matched + scale))


def build(*options):
    torch.manual_seed(0)
    return build_model(load_cfg(TINY, [*RANDOM, *SMALL, *options]))


def pairs(count=6):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return [{"image": image, "caption": f"a photo of thing {i}"} for i, image in enumerate(images)]


@pytest.mark.parametrize("mode", ["full", "lst"])
def test_the_text_tower_trains_or_stays(mode):
    model = build("MODEL.CATSEG.FINETUNE", mode, "MODEL.HCLIP_MOSAIC.TRAIN_TEXT", "False").train()
    assert model.train_text is False
    for train_text in (False, True):
        model.train_text = train_text
        model(pairs())["loss_contrast"].backward()
        moved = {name for name, p in model.named_parameters() if p.grad is not None}
        is_text = [".visual." not in name and "adaptation.image." not in name for name in moved]
        assert any(is_text) == train_text and not all(is_text), sorted(moved)


def test_a_cell_is_encoded_among_its_neighbours_and_a_picture_alone_is_not():
    model, batch = build().train(), pairs()
    with torch.no_grad():
        before, _ = model.encode_pairs(batch)
        batch[0]["image"] = 255 - batch[0]["image"]
        after, _ = model.encode_pairs(batch)
    changed = (after - before).abs().amax(dim=1) > 1e-6
    assert changed.tolist() == [True] * 4 + [False] * 2


def test_a_split_step_is_the_step_of_one_process(small_world, tmp_path, monkeypatch):
    small_world(24, 1)
    monkeypatch.setattr(splits, "BATCH", 24)
    cases = {"mosaic": ("hclip/detection/mosaic_tiny", SMALL)}
    found = []
    for split in (splits.ONE, splits.Split(2, 2)):
        splits.run(split, cases, tmp_path, stop=1)
        found.append(splits.results(split, "mosaic", tmp_path))
    one, other = found
    losses = [[step["total_loss"] for step in run["losses"]] for run in found]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for a, b in zip(one["gradients"], other["gradients"], strict=True):
        assert a.keys() == b.keys() and a
        size = torch.cat([g.flatten() for g in a.values()]).norm()
        off = torch.cat([(a[name] - b[name]).flatten() for name in a]).norm()
        assert off < 1e-4 * size


def test_the_detector_stands_on_what_a_training_wrote_and_boxes_are_named(small_world, tmp_path):
    small_world(6, 2)
    run(str(TINY), [
        *SMALL, "SOLVER.IMS_PER_BATCH", "6", "SOLVER.MAX_ITER", "2", "SOLVER.BASE_LR", "0.01",
        "DATASETS.TEST", "()", "OUTPUT_DIR", str(tmp_path / "run"),
    ])  # fmt: skip
    path = tmp_path / "run" / "model_final.pth"
    written = read_checkpoint(path)["model"]
    assert set(written) and all(name.startswith(("clip.", "adaptation.")) for name in written)
    cfg = load_cfg(FOLDER / "tiny.yaml", [
        "MODEL.CATSEG.FINETUNE", "hclip", "MODEL.HCLIP_DET.ADAPTED", str(path)
    ])  # fmt: skip
    encoder = build_model(cfg).backbone.encoder.state_dict()
    assert all(torch.equal(value, encoder[name]) for name, value in written.items())
    assert written["adaptation.pop.blocks"][..., 0].any()  # of the text tower; it begins with zeros

    keys = ["MODEL.WEIGHTS", str(path), "OUTPUT_DIR", str(tmp_path / "eval")]
    figures = run(str(TINY), keys, eval_only=True)["regions"]
    assert 0 <= figures["mACC_base"] <= 100 and figures["oracle"] == 1.0
    assert list((tmp_path / "eval").rglob("regions_evaluation.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.HCLIP_MOSAIC.CANVAS", "60"), "CANVAS 60 is no multiple of the patches of 8.* 64"),
        (("MODEL.HCLIP_MOSAIC.GRIDS", "[9]"), "GRIDS 9: a cell of a canvas of 64 .* of 8"),
        (("MODEL.HCLIP_MOSAIC.TRAIN_TEXT", "False"), "FINETUNE hclip has one tensor for both"),
        (("MODEL.HCLIP_DET.LAST_BLOCK", "clss"), "LAST_BLOCK.*'cls'"),
    ],
)
def test_what_cannot_be_built(options, message):
    with pytest.raises(UserError, match=message):
        build(*options)


def test_groups_without_a_mosaic_and_parts_of_groups():
    with pytest.raises(UserError, match=r"GRIDS \[2, 3\]: one mosaic of each takes 13 pictures"):
        MosaicSettings(64, (2, 3), pictures_per_group=12).check_split(12)
    with pytest.raises(UserError, match="PICTURES_PER_GROUP 6: the 8 pictures"):
        MosaicSettings(64, (2,), pictures_per_group=6).check_split(8)


def test_records_that_do_not_serve(small_world):
    small_world(1, 1)
    cfg = load_cfg(TINY)
    (record,) = dataset_dicts(["embedded_sem_seg_train"])
    for_training = build_mapper(cfg, is_train=True)
    sample = for_training(record)
    assert sample["image"].shape == (3, 64, 64) and sample["caption"] in record["captions"]
    with pytest.raises(UserError, match=r"captions\[1\] is empty"):
        for_training({**record, "captions": ["a", " "]})
    (boxes,) = dataset_dicts(["embedded_detection_train"])
    with pytest.raises(UserError, match="has no caption .* coco_captions_train"):
        for_training(boxes)
    cfg.INPUT.TEST_MAPPER = "CaptionDatasetMapper"
    with pytest.raises(UserError, match="set it to RegionDatasetMapper"):
        build_mapper(cfg, is_train=False)
    model = build().eval()
    model.set_vocabulary("car, tree")
    with pytest.raises(UserError, match="set INPUT.TEST_MAPPER to RegionDatasetMapper"):
        model([{"image": torch.zeros(3, 64, 64)}])
    with pytest.raises(UserError, match="set INPUT.MAPPER to CaptionDatasetMapper"):
        model.train()([{"image": torch.zeros(3, 64, 64)}])


def test_configs_follow_the_released_training():
    modes = {}
    for path in sorted(FOLDER.glob("mosaic_vitb16_*.yaml")):
        cfg = load_cfg(path)
        node, solver = cfg.MODEL.HCLIP_MOSAIC, cfg.SOLVER
        assert (node.CANVAS, node.GRIDS, node.PICTURES_PER_GROUP) == (1024, [2, 3, 4], 128)
        assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.WARMUP_ITERS) == (1024, 1e-5, 1000)
        modes[finetune_settings(cfg).mode] = (node.TRAIN_TEXT, cfg.MODEL.HCLIP_DET.LAST_BLOCK)
    both = (True, "cls")
    assert modes == {"hclip": both, "lora": both, "oft": both, "full": (False, "token")}
