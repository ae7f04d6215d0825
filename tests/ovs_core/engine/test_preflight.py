"""What a run would fail of is one line, before a model is built and before processes start."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils import comm
from PIL import Image

from ovs_core.commands import main
from ovs_core.engine import launching, preflight
from ovs_core.engine import run as running
from ovs_core.engine.config import load_cfg
from ovs_core.engine.preflight import check_run
from ovs_core.engine.run import run
from ovs_core.errors import UserError

FAULTS = [
    (["DATASETS.TEST", "('toy_val','toy_test')"], "no dataset is registered as 'toy_test'"),
    (["MODEL.WEIGHTS", "lost.pth"], "lost.pth: no such checkpoint"),
    (["MODEL.CLIP.PRETRAINED", "lost.pt"], "lost.pt: no such weight file"),
    (["MODEL.CLIP.PRETRAINED", "losttag"], "'losttag' is neither a file nor a tag"),
    (["TEST.EVALUATOR", "semseg"], "evaluator_type of toy_val: 'semseg' is unknown"),
    (["MODEL.META_ARCHITECTURE", "Toi"], "MODEL.META_ARCHITECTURE: 'Toi' is unknown"),
    (["SOLVER.LR_SCHEDULER_NAME", "Poly"], "SOLVER.LR_SCHEDULER_NAME: 'Poly' is unknown"),
    (["SOLVER.OPTIMIZER", "Adamw"], "SOLVER.OPTIMIZER: 'Adamw' is unknown"),
    (["SOLVER.REFERENCE_WORLD_SIZE", "8"], "nothing is scaled by the number of processes"),
    (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
    (["SOLVER.IMS_PER_BATCH", "5"], "SOLVER.IMS_PER_BATCH 5 cannot be split over 4 processes"),
    (["SOLVER.IMS_PER_BACH", "4"], "unknown key 'SOLVER.IMS_PER_BACH'"),
]


@pytest.mark.parametrize(("pairs", "line"), FAULTS)
def test_one_line_before_any_process_starts(world, monkeypatch, capfd, pairs, line):
    monkeypatch.setattr(launching, "launch", lambda *_: pytest.fail("processes were started"))
    config = str(world / "toy.yaml")
    code = main(["train", "--config-file", config, "--device", "cpu", "--num-gpus", "4", *pairs])
    shown = capfd.readouterr().err
    assert code == 1 and line in shown and shown.count("\n") == 1


@pytest.mark.parametrize(("pairs", "line"), FAULTS[:6])
@pytest.mark.parametrize("eval_only", [False, True])
def test_alone_too_it_comes_before_the_model(world, monkeypatch, pairs, line, eval_only):
    monkeypatch.setattr(running.Trainer, "build_model", lambda _: pytest.fail("a model was built"))
    with pytest.raises(UserError, match=line.replace("(", r"\(")):
        run(str(world / "toy.yaml"), pairs, eval_only=eval_only)


def test_the_first_picture_of_every_set_is_read(world):
    cfg = load_cfg(world / "toy.yaml")
    check_run(cfg, processes=2, resume=False, eval_only=False)
    for path in world.rglob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="png"):
        check_run(cfg, processes=2, resume=False, eval_only=False)


def test_a_resumed_run_does_not_need_what_it_began_with(world, tmp_path):
    config, pairs = str(world / "toy.yaml"), ["SOLVER.MAX_ITER", "2"]
    run(config, [*pairs, "DATASETS.TEST", "()"])
    cfg = load_cfg(config, ["MODEL.WEIGHTS", "lost.pth"])
    check_run(cfg, processes=1, resume=True, eval_only=False)
    with pytest.raises(UserError, match=r"lost\.pth"):
        check_run(cfg, processes=1, resume=False, eval_only=False)


def boxes_after_an_empty_picture(tmp_path):
    """Records of a detection set whose first one has no box, and no picture that can be read."""
    picture = tmp_path / "full.png"
    Image.new("RGB", (40, 40)).save(picture)
    box = {"bbox": [2, 2, 20, 20], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0}
    empty = {"file_name": str(tmp_path / "lost.png"), "annotations": []}
    full = {"file_name": str(picture), "annotations": [box]}
    return [{**record, "height": 40, "width": 40} for record in (empty, full)]


def test_a_picture_that_training_leaves_out_is_not_read(world, tmp_path):
    records = boxes_after_an_empty_picture(tmp_path)
    DatasetCatalog.register("toy_boxes", lambda: records)
    MetadataCatalog.get("toy_boxes").set(thing_classes=["red"], stuff_classes=["red"])
    options = ["DATASETS.TRAIN", "('toy_boxes',)", "INPUT.MAPPER", "DetectionDatasetMapper",
               "DATASETS.TEST", "()"]  # fmt: skip
    keep = ["DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False"]
    try:
        cfg = load_cfg(world / "toy.yaml", options)
        check_run(cfg, processes=1, resume=False, eval_only=False)
        with pytest.raises(UserError, match=r"lost\.png"):
            cfg = load_cfg(world / "toy.yaml", [*options, *keep])
            check_run(cfg, processes=1, resume=False, eval_only=False)
    finally:
        DatasetCatalog.remove("toy_boxes"), MetadataCatalog.remove("toy_boxes")


def test_other_processes_fail_of_what_the_first_has_found(world, monkeypatch):
    cfg = load_cfg(world / "toy.yaml")
    monkeypatch.setattr(preflight, "check_run", lambda *_, **__: pytest.fail("checked, too"))
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    monkeypatch.setattr(comm, "all_gather", lambda own: ["a mistake", own])
    with pytest.raises(UserError, match="a mistake"):
        preflight.check_in_one_process(cfg, resume=False, eval_only=False)


def test_several_processes_on_the_cpu(world, tmp_path, forking):
    line = ["train", "--config-file", str(world / "toy.yaml"), "--device", "cpu"]
    assert main([*line, "--num-gpus", "2", "SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"]) == 0
    assert (tmp_path / "run" / "model_final.pth").is_file()
    assert (tmp_path / "run" / "train" / "log.txt.rank1").is_file()
