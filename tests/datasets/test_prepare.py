"""`ovsuite prepare` on the miniatures: values, restart, and what it leaves alone."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs_core.commands import main, parse
from ovs_core.commands.prepare import PREPARATIONS
from ovs_core.data import dataset_dicts
from ovs_core.data.benchmarks import load_benchmarks
from ovs_core.data.labels import stored_labels
from ovs_core.data.panoptic_png import segment_ids_from_color
from ovs_core.data.preparation import ade20k, ade20k_full, pascal_voc
from ovs_core.data.preparation import jobs as preparation
from ovs_core.errors import UserError
from tests.miniatures import SOURCES
from tests.miniatures.draw import segment_colours

SCRIPTS = sorted((Path(__file__).parents[2] / "datasets").glob("prepare_*.py"))


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    monkeypatch.delenv("OVS_DATASETS_LAYOUT", raising=False)
    return folder


def run(benchmark, *arguments):
    """Prepare in this process; gives the exit code."""
    return main(["prepare", benchmark, "--workers", "1", *map(str, arguments)])


def first_row(path, step=4):
    with Image.open(path) as picture:
        return np.asarray(picture)[0, ::step].tolist()


def read(path):
    return json.loads(Path(path).read_text())


def test_coco_stuff(root, capsys):
    SOURCES["coco_stuff"](root)
    assert run("coco_stuff") == 0
    made = root / "coco" / "stuffthingmaps_detectron2" / "val2017"
    assert first_row(made / "000000000139.png") == [0, 1, 80, 255]
    assert len(dataset_dicts(["coco_stuff_171_train"])) == 3
    assert "label_rule" not in dataset_dicts(["coco_stuff_171_val"])[0]
    out = capsys.readouterr().out
    assert "val2017 labels: 3 files (3 made, 0 were there), 576 pixels" in out


def test_restart_keeps_files_and_checksum(root, capsys):
    SOURCES["coco_stuff"](root)
    run("coco_stuff", "--splits", "val")
    first = capsys.readouterr().out.split()[-1]
    made = root / "coco" / "stuffthingmaps_detectron2" / "val2017"
    kept = (made / "000000000285.png").stat().st_mtime_ns
    (made / "000000000139.png").unlink()
    (made / ".000000000139.a1b2.part.png").write_bytes(b"half")
    assert run("coco_stuff", "--splits", "val") == 0
    out = capsys.readouterr().out
    assert "3 files (1 made, 2 were there)" in out and out.split()[-1] == first
    assert (made / "000000000285.png").stat().st_mtime_ns == kept
    assert not list(made.glob("*.part.png"))


def test_foreign_files_are_left_alone(root, capsys):
    SOURCES["coco_stuff"](root)
    made = root / "coco" / "stuffthingmaps_detectron2" / "val2017"
    made.mkdir(parents=True)
    (made / "000000000139.png").write_bytes(b"precious")
    assert run("coco_stuff", "--splits", "val") == 1
    assert "holds files that this command did not make" in capsys.readouterr().err
    assert (made / "000000000139.png").read_bytes() == b"precious"
    assert len(list(made.iterdir())) == 1


def test_surplus_file_in_our_folder_is_reported(root, capsys):
    SOURCES["coco_stuff"](root)
    run("coco_stuff", "--splits", "val")
    made = root / "coco" / "stuffthingmaps_detectron2" / "val2017"
    (made / "stranger.png").write_bytes(b"")
    assert run("coco_stuff", "--splits", "val") == 1
    assert "holds files of no picture: stranger.png" in capsys.readouterr().err


def test_coco_panoptic(root):
    SOURCES["coco_panoptic"](root)
    assert run("coco_panoptic") == 0
    record = dataset_dicts(["coco_133_panoptic_val"])[0]
    assert stored_labels(record)[0, ::4].tolist() == [0, 132, 16, 255]
    assert run("coco_panoptic") == 0  # the labels now on disk do not disturb a second run


def test_ade20k_semantic_and_panoptic(root):
    SOURCES["ade20k_150"](root)
    assert run("ade20k_150", "--panoptic", "--instance") == 0
    base = root / "ADEChallengeData2016"
    made = base / "annotations_detectron2" / "validation" / "ADE_val_00000001.png"
    assert first_row(made) == [255, 0, 3, 12]
    records = {r["image_id"]: r for r in dataset_dicts(["ade20k_150_panoptic_val"])}
    info = records["ADE_val_00000001"]["segments_info"]
    assert [(s["category_id"], s["isthing"]) for s in info] == [(0, False), (3, False), (12, True)]
    # floor covers columns 8..11 of the semantic map; its upper half is then hidden by the person
    assert info[1]["area"] == 48 and info[1]["bbox"] == [8, 0, 4, 12]
    with Image.open(records["ADE_val_00000001"]["pan_seg_file_name"]) as picture:
        ids = segment_ids_from_color(np.asarray(picture))
    assert (ids == info[1]["id"]).sum() == 24 and (ids == info[2]["id"]).sum() == 48
    assert (ids[6:, 12:] == 0).all()  # person of the semantic map, in no instance: void
    covered = records["ADE_val_00000003"]["segments_info"]
    assert [s["category_id"] for s in covered] == [0, 12] and covered[0]["area"] == 96
    boxes = dataset_dicts(["ade20k_150_instance_val"])
    assert [len(r["annotations"]) for r in boxes] == [1, 0, 1]
    annotation = boxes[0]["annotations"][0]
    assert annotation["bbox"] == [8, 0, 8, 6] and annotation["area"] == 48
    categories = {c["id"]: c["name"] for c in read(base / "ade20k_instance_val.json")["categories"]}
    assert len(categories) == 100 and categories[12] == "person"


def test_exact_areas_measure_what_is_visible(root):
    SOURCES["ade20k_150"](root)
    ade20k.prepare_panoptic(root, "val", exact=True, workers=1)
    content = read(root / "ADEChallengeData2016" / "ade20k_panoptic_val.json")
    by_id = {a["image_id"]: a["segments_info"] for a in content["annotations"]}
    assert [s["area"] for s in by_id["ADE_val_00000001"]] == [48, 24, 48]
    assert [s["category_id"] for s in by_id["ADE_val_00000003"]] == [12]
    with pytest.raises(UserError, match="was made as 'ade20k panoptic, exact areas'"):
        ade20k.prepare_panoptic(root, "val", workers=1)


def test_panoptic_restart_rewrites_an_equal_json(root):
    SOURCES["ade20k_150"](root)
    path = root / "ADEChallengeData2016" / "ade20k_panoptic_val.json"
    ade20k.prepare_panoptic(root, "val", workers=1)
    before = path.read_bytes()
    ade20k.prepare_panoptic(root, "val", workers=1)
    assert path.read_bytes() == before
    path.write_text('{"mine": 1}')
    with pytest.raises(UserError, match="exists and was not made by this command"):
        ade20k.prepare_panoptic(root, "val", workers=1)


def test_ade20k_full(root):
    SOURCES["ade20k_full"](root)
    assert run("ade20k_full") == 0
    records = {r["image_id"]: r for r in dataset_dicts(["ade20k_847_val"])}
    assert len(records) == 3 and len(dataset_dicts(["ade20k_847_train"])) == 3
    labels = stored_labels(records["ADE_val_00000001"])
    assert labels.dtype == np.uint16 and labels[0, [0, 7, 15]].tolist() == [0, 65535, 846]
    with Image.open(records["ADE_val_00000003"]["file_name"]) as picture:
        assert picture.size == (640, 512)
    assert stored_labels(records["ADE_val_00000003"]).shape == (512, 640)


def test_ade20k_index_may_not_run_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.system, ("touch trapped",))

    path = tmp_path / "index_ade20k.pkl"
    path.write_bytes(pickle.dumps({"folder": [], "filename": [Trap()]}))
    with pytest.raises(UserError, match="asks for posix.system"):
        ade20k_full.read_index(path)


@pytest.mark.parametrize("source", ["aug", "sbd"])
def test_voc(root, source):
    SOURCES["voc2012"](root)
    SOURCES["sbd"](root)
    if source == "sbd":
        (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/aug.txt").unlink()
    extra = ["--sbd", root / "benchmark_RELEASE" / "dataset"] if source == "sbd" else []
    assert run("voc2012", "--any-count", *extra) == 0
    assert run("voc2012", "--any-count", "--background", "--splits", "val") == 0
    base = root / "VOCdevkit" / "VOC2012"
    name = "2007_000033.png"
    assert first_row(base / "annotations_detectron2" / "val" / name) == [255, 0, 255, 19]
    assert first_row(base / "annotations_detectron2_bg" / "val" / name) == [20, 0, 255, 19]
    added = base / "annotations_detectron2" / "trainaug" / "2008_000003.png"
    assert first_row(added, 6) == [255, 18, 14]
    counts = {s: len(dataset_dicts([f"voc_20_{s}"])) for s in ("train", "trainaug", "val")}
    assert counts == {"train": 2, "trainaug": 5, "val": 3}


def test_voc_insists_on_the_published_count(root, capsys):
    SOURCES["voc2012"](root)
    assert run("voc2012") == 1
    assert "has 2 + 3 pictures; published are 1464 + 9118" in capsys.readouterr().err
    with pytest.raises(UserError):
        pascal_voc.check_counts(["a"] * 1465, ["b"] * 9117)
    pascal_voc.check_counts(["a"] * 1464, ["b"] * 9118)


def test_context_59(root, caplog):
    SOURCES["context_59"](root)
    with caplog.at_level("INFO"):
        assert run("context") == 0
    base = root / "VOCdevkit" / "VOC2010" / "annotations_detectron2" / "pc59_val"
    assert sorted(p.stem for p in base.glob("*.png")) == [
        "2008_000008",
        "2008_000043",
        "2008_000076",
    ]
    # aeroplane left, wood painted later over columns 6..11, nothing on the right
    assert first_row(base / "2008_000008.png", 1) == [0] * 6 + [58] * 6 + [255] * 4
    assert "4 in the annotation, 3 in" in caplog.text
    assert stored_labels(dataset_dicts(["context_60_val"])[0])[0, [0, 6, 15]].tolist() == [1, 59, 0]


def test_context_459(root):
    SOURCES["context_459"](root)
    assert run("context_459") == 0
    labels = stored_labels(dataset_dicts(["context_459_val"])[0])
    assert labels[0, ::4].tolist() == [65535, 0, 255, 458]


def test_context_459_needs_a_split(root, capsys):
    SOURCES["context_459"](root)
    for path in (root / "VOCdevkit/VOC2010/ImageSets/SegmentationContext").iterdir():
        path.unlink()
    assert run("context_459") == 1
    assert "nothing says which pictures are 'train'" in capsys.readouterr().err


def test_cityscapes(root):
    SOURCES["cityscapes"](root)
    assert run("cityscapes") == 0
    assert len(dataset_dicts(["cityscapes_19_panoptic_train"])) == 2
    record = dataset_dicts(["cityscapes_19_panoptic_val"])[0]
    info = [
        (s["id"], s["category_id"], s["isthing"], s["iscrowd"]) for s in record["segments_info"]
    ]
    # road, crowd of cars (no number), one person; caravan and void are left out
    assert info == [(7, 0, False, 0), (26, 13, True, 1), (24001, 11, True, 0)]
    with Image.open(record["pan_seg_file_name"]) as picture:
        colours = np.asarray(picture)
    assert np.array_equal(colours[0, 4], segment_colours(np.array([[24001]]))[0, 0])
    assert stored_labels(record)[0, [0, 4, 8, 11, 14]].tolist() == [0, 11, 13, 255, 255]


def test_mapillary_writes_nothing(root, capsys):
    SOURCES["mapillary"](root)
    before = sorted(root.rglob("*"))
    assert run("mapillary") == 0
    assert sorted(root.rglob("*")) == before
    assert "3 files (0 made, 3 were there), 576 pixels, 4 values" in capsys.readouterr().out


@pytest.mark.parametrize("benchmark", PREPARATIONS)
def test_nothing_there_gives_one_error(root, benchmark, capsys):
    assert run(benchmark) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and str(root) in message


def test_every_source_has_a_script_and_a_place_in_the_readme():
    readme = (SCRIPTS[0].parent / "README.md").read_text()
    assert [script.stem for script in SCRIPTS] == sorted(f"prepare_{n}" for n in PREPARATIONS)
    assert all(f"`{name}`" in readme or f"`{name} --" in readme for name in PREPARATIONS)
    assert len(PREPARATIONS) == 9


def test_every_benchmark_names_a_preparation():
    """The advice of an error message is a command line that is understood."""
    advice = {benchmark.prepare for benchmark in load_benchmarks().values() if benchmark.prepare}
    assert len(advice) > 9
    for line in advice:
        assert parse(["prepare", *line.split()]).command == "prepare"


def test_parallel_run_equals_serial_run(root):
    SOURCES["ade20k_150"](root)
    serial = ade20k.prepare_semantic(root, "val", 1)
    parallel = ade20k.prepare_semantic(root, "train", 2)
    assert serial.checksum == parallel.checksum and parallel.made == 3


def test_no_job_is_an_error():
    with pytest.raises(UserError, match="found nothing to prepare"):
        preparation.run_jobs([], title="labels", recipe="x", workers=1)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=[p.stem for p in SCRIPTS])
def test_a_script_is_the_command(script):
    done = subprocess.run(
        [sys.executable, script, "-h"], capture_output=True, text=True, check=True
    )
    benchmark = script.stem.removeprefix("prepare_")
    assert done.stdout.startswith(f"usage: ovsuite prepare {benchmark} ")


def test_preparing_needs_no_torch(root):
    SOURCES["coco_stuff"](root)
    code = (
        "import sys; from ovs_core.commands import main; "
        "code = main(['prepare', 'coco_stuff', '--splits', 'val', '--workers', '1']); "
        "sys.exit(code or 'torch' in sys.modules or 'detectron2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "val2017 labels: 3 files (3 made, 0 were there)" in done.stdout
