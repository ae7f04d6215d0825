"""The dataset check: a good report, and every fault found."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from ovs_core.commands import main
from ovs_core.data import SemanticDatasetMapper
from ovs_core.data.checks import check_dataset
from ovs_core.errors import UserError
from tests.miniatures import SOURCES, write_layout

_numbers = itertools.count()


def run_tool(*arguments):
    return main(["check-dataset", "--workers", "1", *map(str, arguments)])


def register(folder, labels, *, names=3, ignore=255):
    """Register two pictures of 4 x 4 with the given label maps."""
    name = f"check_{next(_numbers)}"
    records = []
    for index, ids in enumerate(labels):
        Image.new("RGB", (4, 4)).save(folder / f"{name}_{index}.jpg")
        suffix = ".png" if ids.dtype == np.uint8 else ".tif"
        Image.fromarray(ids).save(folder / f"{name}_{index}_label{suffix}")
        records.append(
            {
                "file_name": str(folder / f"{name}_{index}.jpg"),
                "image_id": index,
                "dataset_name": name,
                "sem_seg_file_name": str(folder / f"{name}_{index}_label{suffix}"),
            }
        )
    DatasetCatalog.register(name, lambda: records)
    words = [f"w{i}" for i in range(names)]
    MetadataCatalog.get(name).set(stuff_classes=words, ignore_label=ignore)
    return name, records


def flat(value, dtype=np.uint8):
    return np.full((4, 4), value, dtype)


def test_good_report(tmp_path):
    name, _ = register(tmp_path, [flat(0), np.array([[0, 0, 1, 255]] * 4, np.uint8)])
    report = check_dataset(name)
    assert report.passed and report.histogram.tolist() == [24, 4, 0]
    assert report.ignored == 4 and report.absent == ["w2"]
    text = str(report)
    assert "good" in text and "L 8 bit: 2" in text and "RGB: 2" in text
    assert "1 classes never occur: w2" in text and "12.50 %" in text


@pytest.mark.parametrize(
    ("labels", "kwargs", "message"),
    [
        ([flat(3)], {}, "label value 3 is outside 0..2 and is not the ignore value 255"),
        (
            [flat(0)],
            {"ignore": 2},
            "ignore_label 2 lies inside the class range 0..2",
        ),
        ([flat(0)], {"names": 847, "ignore": 65535}, "8-bit labels cannot hold 847 classes"),
        ([np.zeros((4, 5), np.uint8)], {}, "is 4 x 5 pixels high and wide, but its picture"),
        ([np.zeros((4, 4, 3), np.uint8)], {}, "holds RGB colours where one class id"),
    ],
)
def test_faults(tmp_path, labels, kwargs, message):
    name, _ = register(tmp_path, labels, **kwargs)
    report = check_dataset(name)
    assert not report.passed and any(message in line for line in report.errors)
    assert f"error: {report.errors[0]}" in str(report)


def test_16_bit_labels(tmp_path):
    name, _ = register(tmp_path, [flat(846, np.uint16)], names=847, ignore=65535)
    report = check_dataset(name)
    assert report.passed and "I;16 16 bit: 1" in str(report) and report.histogram[846] == 16


def test_repeated_ids_broken_and_unlabelled_files(tmp_path):
    name, records = register(tmp_path, [flat(0), flat(255), flat(1)])
    records[1]["image_id"] = 0
    Path(records[0]["file_name"]).write_bytes(b"")
    Path(records[2]["sem_seg_file_name"]).write_bytes(b"")
    report = check_dataset(name)
    text = str(report)
    assert "image ids occur more than once: 0" in text
    assert "cannot be decoded as a picture" in text and "cannot read the label file" in text
    assert "no pixel is labelled" in text


def test_many_faults_are_shortened(tmp_path):
    name, _ = register(tmp_path, [flat(9)] * 13)
    report = check_dataset(name)
    assert len(report.errors) == 11 and report.errors[-1] == "... and 3 more of this kind"


def test_benchmark_with_another_count(root):
    write_layout(root, "voc_20", "catseg")
    report = check_dataset("voc_20_val")
    assert report.passed and report.warnings == ["1 pictures; the published split has 1449"]


def test_panoptic(root):
    SOURCES["coco_panoptic"](root)
    report = check_dataset("coco_133_panoptic_val")
    assert report.passed and report.histogram[[0, 16, 132]].tolist() == [3, 3, 3]
    path = root / "coco" / "panoptic_val2017" / "000000000139.png"
    Image.new("RGB", (16, 12), (9, 0, 0)).save(path)
    report = check_dataset("coco_133_panoptic_val")
    assert not report.passed and "segments not in the JSON: 9" in str(report)
    Image.new("RGB", (16, 12)).save(path)
    report = check_dataset("coco_133_panoptic_val")
    assert "segments of the JSON without a pixel: 439, 5, 70000" in str(report)


def test_instances(root):
    SOURCES["coco_detection"](root)
    report = check_dataset("coco_detection_48_17_val")
    assert report.passed and report.histogram[[0, 15]].tolist() == [2, 1]


def test_captions(root):
    SOURCES["coco_captions"](root)
    report = check_dataset("coco_captions_val")
    assert report.passed and report.facts["captions"] == "4" and not report.histogram.size


def test_command_on_a_benchmark(root, capsys):
    assert run_tool("voc_20_val") == 1
    assert "Looked for:" in capsys.readouterr().out
    write_layout(root, "voc_20", "catseg")
    assert run_tool("voc_20_val") == 0
    assert "voc_20_val: good" in capsys.readouterr().out


def test_command_on_yaml(tmp_path, capsys):
    for sub in ("images", "labels"):
        (tmp_path / sub).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a.jpg")
    Image.new("L", (4, 4), 7).save(tmp_path / "labels" / "a.png")
    name = f"check_yaml_{next(_numbers)}"
    stanza = {"images": "images", "labels": "labels", "names": ["x", "y"]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({name: stanza}))
    assert run_tool("--yaml", tmp_path / "own.yaml") == 1
    assert f"{name}: NOT USABLE" in capsys.readouterr().out
    Image.new("L", (4, 4), 1).save(tmp_path / "labels" / "a.png")
    assert run_tool("--yaml", tmp_path / "own.yaml", name, "--decode") == 0
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({name + "b": {**stanza, "ignore": 1}}))
    assert run_tool("--yaml", tmp_path / "own.yaml") == 1
    assert "ignore value 1 is class 'y'" in capsys.readouterr().err


def tagged(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("value", range(1, 9))
def test_a_picture_that_is_turned_and_labels_that_are_not(tmp_path, value, form):
    name, records = register(tmp_path, [np.array([[0, 0, 1, 1]] * 4, np.uint8)])
    records[0]["file_name"] = str(tmp_path / f"turned.{form}")
    Image.new("RGB", (4, 4)).save(records[0]["file_name"], exif=tagged(value))
    report = check_dataset(name)
    assert report.passed  # sizes agree, as in the run
    assert SemanticDatasetMapper(True, augmentations=[])(records[0])["sem_seg"].shape == (4, 4)
    warned = [f"EXIF tag turns it (value {value})" in line for line in report.warnings]
    assert warned == ([True] if value > 1 else [])


@pytest.mark.parametrize("value", range(1, 9))
def test_a_turned_picture_whose_labels_are_of_one_of_both_sizes(tmp_path, value):
    """Quarter turns of pictures that are no squares show in the sizes, to checker and run alike."""
    quarter = value > 4
    name, records = register(tmp_path, [np.zeros((4, 6), np.uint8)])
    Image.new("RGB", (6, 4)).save(records[0]["file_name"], exif=tagged(value))
    report = check_dataset(name)
    mapper = SemanticDatasetMapper(True, augmentations=[])
    if quarter:
        with pytest.raises(UserError, match=r"set INPUT\.EXIF False") as caught:
            mapper(records[0])
        assert report.errors == [str(caught.value)]
        Image.new("L", (4, 6)).save(records[0]["sem_seg_file_name"])
        report = check_dataset(name)
    mapper(records[0])
    assert report.passed and len(report.warnings) == (0 if quarter or value == 1 else 1)


@pytest.mark.parametrize("form", ["png", "tif"])
@pytest.mark.parametrize("value", range(2, 9))
def test_labels_with_a_tag_of_their_own_are_refused(tmp_path, value, form):
    name, records = register(tmp_path, [flat(0)])
    path = records[0]["sem_seg_file_name"] = str(tmp_path / f"tagged.{form}")
    Image.new("L", (4, 4)).save(path, exif=tagged(value))
    Image.new("RGB", (4, 4)).save(records[0]["file_name"], exif=tagged(value))
    errors = check_dataset(name).errors
    assert [f"tagged.{form}: its EXIF tag turns it (value {value})" in e for e in errors] == [True]
    with pytest.raises(UserError) as caught:
        SemanticDatasetMapper(True, augmentations=[])(records[0])
    assert [str(caught.value)] == errors


def test_without_decoding_the_report_says_so_last(tmp_path, capsys):
    name, records = register(tmp_path, [flat(0)])
    path = records[0]["file_name"] = str(tmp_path / "cut.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise[:4, :4].repeat(1, 0)).save(path)
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[:-40])
    assert run_tool(name) == 1
    out = capsys.readouterr().out
    assert "cut.png: cannot be decoded" in out and "not decoded" not in out
    assert run_tool(name, "--no-decode", "--json", tmp_path / "report.json") == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("pictures were not decoded (--no-decode)")
    assert json.loads((tmp_path / "report.json").read_text())[0]["decoded"] is False


@pytest.mark.parametrize(
    ("labels", "kwargs", "warning"),
    [
        ([[0, 0, 255, 255]], {"names": 2}, "if 255 means 'w1', store its class index instead"),
        ([[0, 1, 255, 255]], {"names": 2}, ""),
        ([[0, 1, 2, 2]], {}, ""),
        ([[1, 2, 3, 3]], {}, "and 0 never occurs: they look offset by one"),
        ([[0, 1, 2, 3]], {}, "0 stands for what is not labelled: they look offset by one"),
        ([[1, 2, 2, 7]], {}, ""),
    ],
)
def test_labels_of_other_programs(tmp_path, labels, kwargs, warning):
    name, _ = register(tmp_path, [np.array(labels * 4, np.uint8)], **kwargs)
    warnings = check_dataset(name).warnings
    assert [warning in line for line in warnings] == [True] if warning else not warnings


@pytest.mark.parametrize(
    ("mode", "warning"),
    [("1", "have one bit per pixel: 0 is 'w0', 1 is 'w1'"), ("P", "have a palette")],
)
def test_one_bit_and_palette_labels(tmp_path, mode, warning):
    name, records = register(tmp_path, [flat(0)])
    picture = Image.new(mode, (4, 4), 1)
    if mode == "P":
        picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(records[0]["sem_seg_file_name"])
    report = check_dataset(name)
    assert report.passed and report.histogram.tolist() == [0, 16, 0]
    assert [warning in line for line in report.warnings] == [True]


def test_report_as_json(tmp_path):
    name, _ = register(tmp_path, [np.array([[0, 0, 1, 255]] * 4, np.uint8), flat(7)])
    assert run_tool(name, "--json", tmp_path / "report.json") == 1
    (report,) = json.loads((tmp_path / "report.json").read_text())
    assert (report["dataset"], report["good"], report["ignored"]) == (name, False, 4)
    assert report["classes"] == {"w0": 8, "w1": 4, "w2": 0} and report["unit"] == "pixels"
    assert "label value 7" in report["errors"][0] and report["facts"]["pictures"] == "2"


def test_notes_on_pictures_are_warnings(tmp_path):
    name, records = register(tmp_path, [flat(0)])
    records[0]["file_name"] = str(tmp_path / "deep.png")
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(records[0]["file_name"])
    (warning,) = check_dataset(name).warnings
    assert "deep.png: its 16-bit values" in warning
