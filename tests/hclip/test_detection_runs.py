"""The detector as a whole: configs, words, pictures without boxes, training, resume."""

import json
from argparse import Namespace

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from PIL import Image

from hclip.build import finetune_settings
from hclip.commands.visualize import write_detections
from ovs_core import Predictor
from ovs_core.data.build import build_mapper, dataset_dicts
from ovs_core.data.embedded.vocabulary import THINGS
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import run
from ovs_core.engine.trainer import set_test_words, set_training_words
from ovs_core.errors import UserError
from ovs_core.methods.projects import config_dir
from ovs_core.modeling.checkpoint import read_checkpoint

FOLDER = config_dir("hclip") / "detection"
TINY = FOLDER / "tiny.yaml"


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    cfg = load_cfg(TINY, ["MODEL.CLIP.PRETRAINED", "random"])
    return cfg, build_model(cfg)


@pytest.fixture
def detector(made):
    cfg, model = made
    set_test_words(cfg, model, "embedded_detection_val")
    return model.eval()


def picture(*boxes, classes=()):
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    truth = Instances((64, 96), gt_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4).float()))
    truth.gt_classes = torch.tensor(classes, dtype=torch.long)
    return {"image": image, "instances": truth, "height": 128, "width": 192}


def test_configs_follow_the_published_detector():
    names = {p.stem: p for p in FOLDER.glob("ovcoco_*.yaml")}
    modes = set()
    for name, path in names.items():
        cfg = load_cfg(path)
        mode = finetune_settings(cfg).mode
        assert name == f"ovcoco_vitb16_{mode}" and bool(cfg.MODEL.HCLIP_DET.ADAPTED) == (
            mode != "freeze"
        )
        heads = cfg.MODEL.ROI_HEADS
        assert (heads.SCORE_THRESH_TEST, heads.NMS_THRESH_TEST) == (0.01, 0.4)
        assert len(cfg.MODEL.RPN.CONV_DIMS) == 2 and cfg.MODEL.ROI_BOX_HEAD.NUM_CONV == 4
        modes.add(mode)
    assert modes == {"freeze", "lora", "oft", "hclip"}


@pytest.mark.slow
def test_vitb16_has_strides_4_to_64():
    cfg = load_cfg(FOLDER / "ovcoco_vitb16_freeze.yaml", ["MODEL.CLIP.PRETRAINED", "random"])
    model = build_model(cfg).eval()
    shapes = model.backbone.output_shape()
    assert [s.stride for s in shapes.values()] == [4, 8, 16, 32, 64, 16]
    set_test_words(cfg, model, "coco_detection_48_17_val")
    assert model.roi_heads.box_predictor.takes_part.sum() == 65
    assert model.roi_heads.box_predictor.is_base.sum() == 80 - 17  # 15 of them take no part
    found = model([{"image": torch.zeros(3, 64, 96)}])[0]["instances"]
    assert found.image_size == (64, 96)


def test_detections_are_those_of_the_words(detector):
    found = detector([picture()])[0]["instances"]
    assert found.image_size == (128, 192) and 0 < len(found) <= 100
    assert found.scores.min() > 0.01 and found.pred_classes.max() < len(THINGS)
    assert found.pred_boxes.tensor[:, 2].max() <= 192
    detector.set_vocabulary("rocket, background: sky")
    alone = detector([picture()])[0]["instances"]
    assert set(alone.pred_classes.tolist()) <= {0}


def test_base_and_novel_follow_the_data_set_or_the_names(made, detector):
    cfg, _ = made
    predictor = detector.roi_heads.box_predictor
    novel = [THINGS.index(n) for n in ("fish", "bell", "hat")]
    assert (~predictor.is_base).nonzero()[:, 0].tolist() == sorted(novel)
    detector.set_vocabulary(["hat", "Car", "unicorn"])
    assert predictor.is_base.tolist() == [False, True, False]
    detector.set_vocabulary(["hat", "car"], unseen=[1])
    assert predictor.is_base.tolist() == [True, False]
    set_training_words(cfg, detector)
    assert predictor.class_weights().sum() == pytest.approx(17 + 0.6)


def test_words_are_embedded_once(made, detector):
    cfg, _ = made
    detector.set_vocabulary(["gnome", "car"])
    before = detector.text_embedder.encoder.num_computed
    for _ in range(2):
        set_training_words(cfg, detector)
        detector([picture()])
        detector.set_vocabulary(["gnome", "car"])
    assert detector.text_embedder.encoder.num_computed == before


def test_wrong_words(made, detector):
    cfg, _ = made
    with pytest.raises(UserError, match="vocabulary is empty"):
        detector.set_vocabulary([])
    with pytest.raises(UserError, match="unseen class 2 does not exist; there are 2 words"):
        detector.set_vocabulary(["hat", "car"], unseen=[2])
    torch.manual_seed(0)
    with pytest.raises(UserError, match="has no words yet"):
        build_model(cfg).eval()([picture()])


def test_wrong_configs():
    def build(*options):
        return build_model(load_cfg(TINY, ["MODEL.CLIP.PRETRAINED", "random", *options]))

    for name in ("embedded_sem_seg_train", "embedded_panoptic_train"):
        with pytest.raises(UserError, match=f"{name}: is no dataset of boxes"):
            build("DATASETS.TRAIN", f"('{name}',)")
    with pytest.raises(UserError, match="needs MODEL.ROI_HEADS.NAME RegionTextROIHeads"):
        build("MODEL.ROI_HEADS.NAME", "StandardROIHeads")
    with pytest.raises(UserError, match="RPN.IN_FEATURES: 'p6'.* the pyramid has p1, p2"):
        build("MODEL.RPN.IN_FEATURES", "['p2', 'p3', 'p4', 'p5', 'p6']")
    with pytest.raises(UserError, match="needs a ViT image tower"):
        build("MODEL.CLIP.ARCHITECTURE", "embedded-convnext")
    with pytest.raises(UserError, match="needs MODEL.BACKBONE.NAME AdaptedBackbone"):
        build("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone")
    with pytest.raises(UserError, match="ADAPTED is empty"):
        build("MODEL.CATSEG.FINETUNE", "hclip")


def test_the_predictor_of_segmenters_refuses_a_detector():
    with pytest.raises(UserError, match="HCLIPDetector, which does not segment"):
        Predictor.from_config("hclip/detection/tiny", device="cpu")


def test_pictures_with_and_without_boxes_train(made):
    cfg, model = made
    set_training_words(cfg, model)
    model.train()
    with EventStorage(0):
        losses = model([picture((10, 10, 40, 40), classes=[0]), picture()])
        assert all(torch.isfinite(loss) for loss in losses.values())
        empty = model([picture(), picture()])
        sum(empty.values()).backward()
    assert empty["loss_box_reg"] == empty["loss_rpn_loc"] == 0 < empty["loss_cls"]
    with pytest.raises(UserError, match="set INPUT.MAPPER to DetectionDatasetMapper"):
        model([{"image": torch.zeros(3, 64, 64)}])


def short_run(folder, *options, **arguments):
    short = [
        "MODEL.CLIP.PRETRAINED", "random", "SOLVER.IMS_PER_BATCH", "1", "SOLVER.MAX_ITER", "4",
        "SOLVER.CHECKPOINT_PERIOD", "2", "DATASETS.TEST", "()", "INPUT.IMAGE_SIZE", "64",
    ]  # fmt: skip
    return run(str(TINY), [*short, "OUTPUT_DIR", str(folder), *options], **arguments)


def test_resume_is_exact_and_the_checkpoint_holds_what_was_trained(small_world, tmp_path):
    small_world(6, 1)
    short_run(tmp_path / "whole")
    (tmp_path / "part").mkdir()
    first = (tmp_path / "whole" / "model_0000001.pth").read_bytes()
    (tmp_path / "part" / "model_0000001.pth").write_bytes(first)
    (tmp_path / "part" / "last_checkpoint").write_text("model_0000001.pth")
    short_run(tmp_path / "part", resume=True)
    whole, part = (
        read_checkpoint(tmp_path / name / "model_final.pth")["model"] for name in ("whole", "part")
    )
    assert whole.keys() == part.keys()
    assert all(torch.equal(value, part[name]) for name, value in whole.items())
    assert not any(name.startswith("backbone.encoder.") for name in whole)
    assert {"roi_heads.box_predictor.temperature", "roi_heads.box_predictor.background"} <= set(
        whole
    )


@pytest.mark.slow
def test_training_on_the_embedded_world_finds_base_and_novel_things(small_world, tmp_path):
    small_world(120, 24)
    # Smaller pictures and fewer steps than tiny.yaml is set for: a higher rate, larger objects.
    options = [
        "OUTPUT_DIR", str(tmp_path / "run"), "SOLVER.MAX_ITER", "70", "SOLVER.BASE_LR", "0.004",
        "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.CHECKPOINT_PERIOD", "1000",
        "INPUT.MIN_SCALE", "1.0", "INPUT.MAX_SCALE", "2.0", "INPUT.MIN_SIZE_TEST", "160",
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "48", "MODEL.ROI_HEADS.POSITIVE_FRACTION", "0.5",
        "MODEL.ROI_BOX_HEAD.FC_DIM", "256",
    ]  # fmt: skip
    untrained = run(str(TINY), options, eval_only=True)["bbox"]
    run(str(TINY), [*options, "DATASETS.TEST", "()"])
    lines = map(json.loads, (tmp_path / "run" / "metrics.json").read_text().splitlines())
    # The total rises again while better proposals bring more boxes to learn from.
    losses = [line["loss_rpn_cls"] for line in lines if "loss_rpn_cls" in line]
    assert losses[-1] < 0.3 * losses[0]
    weights = ["MODEL.WEIGHTS", str(tmp_path / "run" / "model_final.pth")]
    trained = run(str(TINY), [*options, *weights], eval_only=True)["bbox"]
    assert trained["AP50_base"] > untrained["AP50_base"] + 5
    assert trained["AP50_novel"] > untrained["AP50_novel"]


def test_the_sheet_shows_truth_and_detections(made, detector, small_world, tmp_path):
    small_world(1, 2)
    cfg, _ = made
    records = dataset_dicts(["embedded_detection_val"])
    args = Namespace(pictures=[], samples=2, words=None, threshold=0.05, output=tmp_path)
    truth = Image.open(write_detections(cfg, args)).width
    own = Namespace(**vars(args) | {"words": "rocket, sky", "output": tmp_path / "own"})
    assert Image.open(write_detections(cfg, own)).width < truth  # no truth for own words
    assert set(build_mapper(cfg, is_train=False)(records[0])) >= {"image", "height", "width"}


@pytest.mark.slow
def test_the_coco_split_trains_on_base_boxes_and_is_measured_apart(tmp_path, monkeypatch):
    from tests.miniatures import SOURCES

    SOURCES["coco_detection"](tmp_path / "data")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    sets = ["DATASETS.TRAIN", "('coco_detection_48_17_train',)", "DATASETS.TEST",
            "('coco_detection_48_17_val',)", "TEST.EVAL_PERIOD", "4"]  # fmt: skip
    figures = short_run(tmp_path / "run", *sets)["bbox"]
    assert {"AP50_base", "AP50_novel", "AP50_all"} <= figures.keys()
