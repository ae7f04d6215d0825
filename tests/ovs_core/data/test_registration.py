"""Every registered name finds its data, in every layout that people have."""

import json
import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from ovs_core.data import dataset_dicts
from ovs_core.data.benchmarks import load_benchmarks
from ovs_core.data.labels import load_labels, stored_labels
from ovs_core.data.registration import register_benchmarks, registered_names
from ovs_core.errors import UserError
from ovs_core.words.class_lists import load_class_list
from ovs_core.words.label_space import IGNORE, label_space
from tests import miniatures
from tests.miniatures import LAYOUTS, SOURCES, write_layout

NAMES = [(n, b, s) for b in load_benchmarks().values() for n, s, _ in registered_names(b)]
UPSTREAM = """
coco_2017_train_stuff_all_sem_seg coco_2017_test_stuff_all_sem_seg coco_2017_train_stuff_sem_seg
coco_2017_test_stuff_sem_seg openvocab_coco_2017_train_stuff_sem_seg ade20k_150_test_sem_seg
openvocab_coco_2017_test_stuff_sem_seg ade20k_150_sem_seg_val openvocab_ade20k_sem_seg_train
openvocab_ade20k_sem_seg_val openvocab_ade20k_panoptic_train openvocab_ade20k_panoptic_val
openvocab_ade20k_instance_train openvocab_ade20k_instance_val ade20k_full_sem_seg_freq_val_all
ade20k_full_sem_seg_train ade20k_full_sem_seg_val openvocab_ade20k_full_sem_seg_train
openvocab_ade20k_full_sem_seg_val voc_2012_test_sem_seg voc_sem_seg_train voc_sem_seg_val
openvocab_pascal20_sem_seg_train openvocab_pascal20_sem_seg_val voc_2012_test_background_sem_seg
openvocab_pascal21_sem_seg_train openvocab_pascal21_sem_seg_val context_59_test_sem_seg
pcontext_sem_seg_train pcontext_sem_seg_val openvocab_pascal_ctx59_sem_seg_train
openvocab_pascal_ctx59_sem_seg_val context_459_test_sem_seg pcontext_full_sem_seg_train
pcontext_full_sem_seg_val openvocab_pascal_ctx459_sem_seg_train openvocab_pascal_ctx459_sem_seg_val
openvocab_coco_2017_train_panoptic_with_sem_seg openvocab_coco_2017_val_panoptic_with_sem_seg
coco_seg_pan_voab openvocab_cityscapes_fine_panoptic_train openvocab_cityscapes_fine_panoptic_val
openvocab_mapillary_vistas_panoptic_train openvocab_mapillary_vistas_panoptic_val
""".split()
STYLED = [(dataset, style) for dataset, styles in LAYOUTS.items() for style in styles]
# Names that the archives alone serve, with the number of pictures.
FROM_ARCHIVES = {
    "coco_stuff_171_train": 3, "coco_stuff_171_val": 3, "coco_object_81_val": 3, "coco_27_val": 3,
    "coco_object_81_cliptrase_val": 3, "coco_133_panoptic_train": 3, "coco_133_panoptic_val": 3,
    "coco_133_hybrid_train": 3, "coco_detection_48_17_train": 3, "coco_detection_48_17_val": 3,
    "coco_captions_train": 3, "coco_captions_val": 3,
    "ade20k_150_train": 3, "ade20k_150_val": 3, "voc_20_train": 2, "voc_20_trainaug": 5,
    "voc_20_val": 3, "voc_20b_val": 3, "voc_21_val": 3, "voc_21_trainaug": 5,
    "voc_21_cliptrase_val": 3, "cityscapes_27_val": 3, "mapillary_65_panoptic_train": 3,
    "mapillary_65_panoptic_val": 3,
}  # fmt: skip


def test_names_are_unique_and_the_known_ones_exist():
    names = [name for name, *_ in NAMES]
    assert len(names) == len(set(names))
    assert set(UPSTREAM) <= set(names) <= set(DatasetCatalog.list())
    register_benchmarks()  # a second time


@pytest.mark.parametrize(("name", "benchmark", "split"), NAMES, ids=[n for n, *_ in NAMES])
def test_nothing_on_disk_gives_one_helpful_error(root, name, benchmark, split):
    with pytest.raises(UserError) as caught:
        dataset_dicts([name])
    text = str(caught.value)
    assert f"{benchmark.name}_{split}" in text and "Looked for:" in text
    assert text.count("\n  [") == len([la for la in benchmark.layouts if split in la.splits])
    assert (f"ovsuite prepare {benchmark.prepare}" if benchmark.prepare else "unpack") in text


def test_missing_root_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere does not exist; set DETECTRON2_DATASETS"):
        dataset_dicts(["voc_20_val"])


@pytest.mark.parametrize(("name", "benchmark", "split"), NAMES, ids=[n for n, *_ in NAMES])
def test_metadata_reads_no_disk(name, benchmark, split, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "/nowhere")
    metadata = MetadataCatalog.get(name)
    classes = load_class_list(metadata.class_list)
    if benchmark.kind in ("instances", "captions"):
        assert len(metadata.thing_classes) == len(metadata.thing_colors)
    else:
        assert metadata.stuff_classes == classes.names
        assert len(metadata.stuff_colors) == len(classes)
    assert metadata.ignore_label >= len(classes) and metadata.evaluator_type
    assert metadata.background_rule in ("none", "first_class", "last_class")


def test_metadata_is_not_shared_between_names():
    one, two = (MetadataCatalog.get(n) for n in ("voc_20_val", "voc_sem_seg_val"))
    assert one is not two and one.stuff_classes is not two.stuff_classes
    assert (one.vocab_style, two.vocab_style) == ("", "literal")
    assert one.unseen_classes == [15, 16, 17, 18, 19]


@pytest.mark.parametrize(("dataset", "style"), STYLED)
def test_every_known_layout(root, caplog, dataset, style):
    truth = write_layout(root, dataset, style)
    benchmark = load_benchmarks()[dataset]
    with caplog.at_level(logging.INFO, logger="ovs_core"):
        for name, split, _ in registered_names(benchmark):
            if split != "val":
                continue
            (record,) = dataset_dicts([name])
            picture, label = LAYOUTS[dataset][style]
            assert record["file_name"] == str(root / picture)
            assert record["sem_seg_file_name"] == str(root / label)
            assert record["dataset_name"] == name
            assert np.array_equal(stored_labels(record), truth)
    assert f"layout '{style}'" in caplog.text
    assert MetadataCatalog.get(f"{dataset}_val").image_root == str((root / picture).parent)


def test_layout_variable_moves_a_style_to_the_front(root, monkeypatch):
    write_layout(root, "voc_20", "catseg")
    write_layout(root, "voc_20", "fcclip")
    assert "VOCdevkit" in dataset_dicts(["voc_20_val"])[0]["file_name"]
    monkeypatch.setenv("OVS_DATASETS_LAYOUT", "fcclip")
    assert "pascal_voc_d2" in dataset_dicts(["voc_20_val"])[0]["file_name"]
    monkeypatch.setenv("OVS_DATASETS_LAYOUT", "fclip")
    with pytest.raises(UserError, match="Did you mean 'fcclip'"):
        dataset_dicts(["voc_20_val"])


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    miniatures.write_all(folder)
    return folder


@pytest.mark.parametrize(("name", "count"), FROM_ARCHIVES.items(), ids=FROM_ARCHIVES)
def test_unpacked_archives_serve_directly(archives, monkeypatch, name, count):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(archives))
    records = dataset_dicts([name])
    assert len(records) == count
    metadata = MetadataCatalog.get(name)
    for record in records:
        with Image.open(record["file_name"]) as picture:
            size = picture.size[::-1]
        if "sem_seg_file_name" in record:
            labels = load_labels(record, label_space(name))
            classes = load_class_list(metadata.get("label_class_list") or metadata.class_list)
            assert labels.shape == size
            assert np.all((labels < len(classes)) | (labels == IGNORE))


def test_values_of_derived_benchmarks(archives, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(archives))

    def row(name, key):
        return stored_labels({r["image_id"]: r for r in dataset_dicts([name])}[key])[
            0, ::4
        ].tolist()

    # raw: person, bicycle, stuff 91, unlabelled
    assert row("coco_stuff_171_val", "000000000139") == [0, 1, 80, 255]
    assert row("coco_object_81_val", "000000000139") == [1, 2, 0, 0]
    assert row("coco_object_81_cliptrase_val", "000000000139") == [0, 1, 80, 80]
    assert row("coco_27_val", "000000000139")[:2] == [9, 11]
    # raw: background, aeroplane, void, tvmonitor
    assert row("voc_20_val", "2007_000033") == [255, 0, 255, 19]
    assert row("voc_20b_val", "2007_000033") == [20, 0, 255, 19]
    assert row("voc_21_val", "2007_000033") == [0, 1, 255, 20]
    assert row("voc_21_cliptrase_val", "2007_000033") == [20, 0, 20, 19]


def test_context_60_adds_the_background(root):
    truth = write_layout(root, "context_59", "catseg")
    for name, expected in (
        ("context_60_val", np.where(truth == 255, 0, truth + 1)),
        ("context_60_cliptrase_val", np.where(truth == 255, 59, truth)),
    ):
        assert np.array_equal(stored_labels(dataset_dicts([name])[0]), expected)


def test_coco_27_uses_a_list_if_there_is_one(archives, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(archives))
    listing = archives / "coco_27_val.txt"
    listing.write_text("000000000285\n")
    assert [r["image_id"] for r in dataset_dicts(["coco_27_val"])] == ["000000000285"]
    listing.unlink()
    assert len(dataset_dicts(["coco_27_val"])) == 3


def test_panoptic_records(archives, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(archives))
    record = dataset_dicts(["coco_133_panoptic_val"])[0]
    assert record["image_id"] == 139 and (record["height"], record["width"]) == (12, 16)
    info = [(s["category_id"], s["isthing"], s["iscrowd"]) for s in record["segments_info"]]
    assert info == [(0, True, 0), (132, False, 0), (16, True, 1)]
    assert "sem_seg_file_name" not in record
    hybrid = dataset_dicts(["coco_seg_pan_voab"])[0]
    assert hybrid["label_rule"] == ("coco_stuff",) and "pan_seg_file_name" in hybrid
    vistas = dataset_dicts(["mapillary_65_panoptic_val"])[0]
    assert [s["category_id"] for s in vistas["segments_info"]] == [0, 13, 55]
    metadata = MetadataCatalog.get("coco_133_panoptic_val")
    assert metadata.panoptic_json.endswith("coco/annotations/panoptic_val2017.json")
    assert metadata.panoptic_root.endswith("coco/panoptic_val2017")
    assert metadata.get("json_file", "none") == "none"


def test_detection_split(archives, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(archives))
    boxes = {
        split: [a["category_id"] for r in dataset_dicts([f"coco_detection_48_17_{split}"])
                for a in r["annotations"]]
        for split in ("train", "val")
    }  # fmt: skip
    assert boxes["val"] == [0, 15, 0]  # person, cat, crowd of persons; no stop sign
    assert boxes["train"] == [0, 0]  # and no cat, which is novel
    metadata = MetadataCatalog.get("coco_detection_48_17_val")
    assert metadata.json_file.endswith("instances_val2017.json")
    assert (len(metadata.seen_classes), len(metadata.unseen_classes)) == (48, 17)


def test_captions(root):
    SOURCES["coco_captions"](root)
    first, *rest = dataset_dicts(["coco_captions_val"])
    assert first["captions"] == ["A person beside a cat.", "Picture 139."]
    assert (first["image_id"], first["height"], len(rest)) == (139, 12, 2)
    metadata = MetadataCatalog.get("coco_captions_val")
    boxes = MetadataCatalog.get("coco_detection_48_17_val")
    assert metadata.thing_classes == boxes.thing_classes
    assert metadata.unseen_classes == boxes.unseen_classes


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, {"caption": " \n"}, r"annotations\[0\].caption: .*at least 1 character"),
        (2, {"image_id": 139}, r"images\[1\].id: no annotation has a caption of picture 285"),
        (2, {"image_id": 7}, r"annotations\[2\].image_id: no picture of .* the id 7"),
    ],
)
def test_wrong_captions(root, place, change, message):
    SOURCES["coco_captions"](root)
    path = root / "coco" / "annotations" / "captions_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][place] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"captions_val2017.json: {message}"):
        dataset_dicts(["coco_captions_val"])


def test_leftovers_are_listed(root):
    SOURCES["coco_stuff"](root)
    labels = root / "coco" / "stuffthingmaps" / "val2017"
    (labels / "000000000139.png").unlink()
    Image.new("L", (16, 12)).save(labels / "000000000999.png")
    with pytest.raises(UserError) as caught:
        dataset_dicts(["coco_stuff_171_val"])
    assert "no label file for 1 names: 000000000139" in str(caught.value)
    assert "no picture file for 1 names: 000000000999" in str(caught.value)


def test_more_than_ten_leftovers_are_counted(root):
    SOURCES["coco_stuff"](root)
    for number in range(14):
        Image.new("RGB", (4, 3)).save(root / "coco" / "val2017" / f"x{number:02d}.jpg")
    with pytest.raises(UserError, match=r"for 14 names: x00, .*x09, \.\.\. \(4 more\)"):
        dataset_dicts(["coco_stuff_171_val"])


def test_json_and_folder_that_disagree(root):
    SOURCES["coco_panoptic"](root)
    folder = root / "coco" / "panoptic_val2017"
    (folder / "000000000139.png").rename(folder / "000000000001.png")
    with pytest.raises(UserError) as caught:
        dataset_dicts(["coco_133_panoptic_val"])
    assert "no panoptic PNG file for 1 names: 000000000139" in str(caught.value)
    assert "no annotation for 1 files" in str(caught.value) and "000000000001" in str(caught.value)


@pytest.mark.parametrize(("source", "file", "name", "key", "items"), [
    ("coco_panoptic", "panoptic_val2017", "coco_133_panoptic_val", "annotations", "image_id: 139"),
    ("coco_detection", "instances_val2017", "coco_detection_48_17_val", "images", "id: 139"),
])  # fmt: skip
def test_repeated_image_ids(root, source, file, name, key, items):
    SOURCES[source](root)
    path = root / "coco" / "annotations" / f"{file}.json"
    content = json.loads(path.read_text())
    content[key].append(content[key][0])
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{items} occurs more than once"):
        dataset_dicts([name])


def test_broken_json(root):
    SOURCES["coco_panoptic"](root)
    path = root / "coco" / "annotations" / "panoptic_val2017.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match=r"panoptic_val2017\.json: cannot read the annotation"):
        dataset_dicts(["coco_133_panoptic_val"])


def test_unknown_name():
    with pytest.raises(UserError, match="registered as 'voc_20_vall'. Did you mean 'voc_20_val'"):
        dataset_dicts(["voc_20_vall"])
