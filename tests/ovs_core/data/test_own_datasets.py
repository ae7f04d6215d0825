"""Own datasets from YAML."""

import itertools
import json

import numpy as np
import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from ovs_core.data import SemanticDatasetMapper, dataset_dicts, register_yaml_datasets
from ovs_core.data.build import check_datasets
from ovs_core.data.checks import check_dataset
from ovs_core.data.own_datasets import read_yaml_datasets
from ovs_core.errors import UserError
from ovs_core.words.dataset_words import dataset_vocabulary
from ovs_core.words.label_space import IGNORE
from tests.miniatures import SOURCES

_numbers = itertools.count()


@pytest.fixture
def folder(tmp_path):
    for sub in ("images", "labels"):
        (tmp_path / sub).mkdir()
    for index, suffix in enumerate((".jpg", ".png", ".JPG")):
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / f"p{index}{suffix}")
        ids = np.array([[0, 1, 2, 255]] * 6, np.uint8).repeat(2, axis=1)
        Image.fromarray(ids).save(tmp_path / "labels" / f"p{index}.png")
    (tmp_path / "names.txt").write_text("road\ntree  # comment\nsky\n")
    return tmp_path


def write(folder, **changes):
    """Write a stanza; gives its name and the file."""
    stanza = {"images": "images", "labels": "labels", "names": "names.txt", **changes}
    name = f"own_{next(_numbers)}"
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({name: {k: v for k, v in stanza.items() if v is not None}}))
    return name, path


def test_semantic(folder):
    name, path = write(folder, unseen=["sky"])
    assert register_yaml_datasets(path) == [name]
    assert register_yaml_datasets(path) == [name]  # twice is fine
    records = dataset_dicts([name])
    assert [r["image_id"] for r in records] == ["p0", "p1", "p2"]
    metadata = MetadataCatalog.get(name)
    assert metadata.stuff_classes == ["road", "tree", "sky"] and metadata.ignore_label == 255
    assert (metadata.seen_classes, metadata.unseen_classes) == ([0, 1], [2])
    assert len(metadata.stuff_colors) == 3 and metadata.evaluator_type == "sem_seg"
    mapped = SemanticDatasetMapper(True, augmentations=[], unseen="ignore")(records[0])
    assert mapped["sem_seg"][0].tolist() == [0, 0, 1, 1] + [IGNORE] * 4


def test_list_subset_and_rules(folder):
    (folder / "part.txt").write_text("p2\np0\n")
    name, path = write(folder, list="part.txt", label_rule="zero_is_ignore", names=["tree", "sky"])
    register_yaml_datasets(path)
    records = dataset_dicts([name])
    assert [r["image_id"] for r in records] == ["p2", "p0"]
    assert records[0]["label_rule"] == ("zero_is_ignore",)
    (folder / "labels" / "p1.png").unlink()
    name, path = write(folder, subset=True)
    register_yaml_datasets(path)
    assert [r["image_id"] for r in dataset_dicts([name])] == ["p0", "p2"]


def test_names_are_read_as_words_are(folder):
    name, path = write(folder, names=["road|street", "tree", "sky"], unseen=["road"])
    register_yaml_datasets(path)
    metadata = MetadataCatalog.get(name)
    assert metadata.stuff_classes == ["road", "tree", "sky"] and metadata.seen_classes == [1, 2]
    assert dataset_vocabulary(metadata).texts == ["road", "street", "tree", "sky"]


def test_shipped_class_list(folder):
    name, path = write(folder, names="pascal_voc_20")
    register_yaml_datasets(path)
    metadata = MetadataCatalog.get(name)
    assert metadata.class_list == "pascal_voc_20" and len(metadata.stuff_classes) == 20


def test_many_names_ignore_65535_by_default(folder):
    _, path = write(folder, names=[f"name {i}" for i in range(300)])
    assert read_yaml_datasets(path)[0].ignore == 65535


def test_panoptic_and_instances(folder):
    SOURCES["coco_panoptic"](folder)
    SOURCES["coco_detection"](folder)
    listed = {
        "panoptic_val2017": {1: "person", 18: "dog", 200: "rug"},
        "instances_val2017": {1: "person", 13: "stop sign", 17: "cat"},
    }
    for file, names in listed.items():
        path = folder / "coco" / "annotations" / f"{file}.json"
        content = json.loads(path.read_text())
        content["categories"] = [
            {**c, "name": names[c["id"]]} for c in content["categories"] if c["id"] in names
        ]
        path.write_text(json.dumps(content))
    shared = {"images": "coco/val2017", "labels": None}
    name, path = write(
        folder,
        **shared,
        annotations="coco/annotations/panoptic_val2017.json",
        segments="coco/panoptic_val2017",
        names=["rug", "dog", "person"],
    )
    register_yaml_datasets(path)
    info = dataset_dicts([name])[0]["segments_info"]
    assert [(s["category_id"], s["isthing"]) for s in info] == [(2, True), (0, False), (1, True)]
    metadata = MetadataCatalog.get(name)
    assert (
        metadata.thing_classes == ["dog", "person"]
        and metadata.evaluator_type == "coco_panoptic_seg"
    )
    assert metadata.thing_dataset_id_to_contiguous_id == {1: 2, 18: 1}
    name, path = write(
        folder,
        **shared,
        annotations="coco/annotations/instances_val2017.json",
        names=["cat", "stop sign", "person"],
    )
    register_yaml_datasets(path)
    boxes = [a["category_id"] for r in dataset_dicts([name]) for a in r["annotations"]]
    assert boxes == [2, 0, 1, 2] and MetadataCatalog.get(name).evaluator_type == "coco"
    name, path = write(
        folder,
        **shared,
        annotations="coco/annotations/instances_val2017.json",
        names=["cat", "stop", "person"],
    )
    register_yaml_datasets(path)
    with pytest.raises(UserError, match="'stop sign' is not among the names. Did you mean 'stop'"):
        dataset_dicts([name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "images"}, "a key: 'image' is unknown. Did you mean 'images'"),
        ({"images": None}, "lacks 'images', the folder of the pictures"),
        ({"names": None}, "lacks 'names'"),
        ({"labels": None}, "lacks 'labels' or 'annotations'"),
        ({"annotations": "a.json"}, "give either 'labels' or 'annotations'"),
        ({"segments": "s"}, "'segments' needs 'annotations'"),
        ({"names": ["a", "a"]}, "names 'a' more than once"),
        ({"names": "nothing.txt"}, "nothing.txt: cannot read the word list"),
        ({"names": 5}, "names is 5; expected a file, a list"),
        ({"ignore": 2}, "ignore value 2 is class 'sky'"),
        ({"ignore": "255"}, "ignore is '255'; expected a label value"),
        ({"unseen": ["skye"]}, "unseen holds 'skye', which is no name. Did you mean 'sky'"),
        ({"unseen": "sky"}, "unseen is 'sky'; expected a list"),
        ({"seen": ["sky"], "unseen": ["sky"]}, "'sky' is both seen and unseen"),
        ({"label_rule": "zero_is_ignored"}, "Did you mean 'zero_is_ignore'"),
        ({"label_rule": 1}, "label_rule is 1; expected a text, or a list"),
        ({"image_suffix": [1]}, "image_suffix is [1]; expected a text, or a list"),
        ({"label_suffix": [".png"]}, "label_suffix is ['.png']; expected the end of a file name"),
        ({"segment_suffix": ""}, "segment_suffix is ''; expected the end of a file name"),
        ({"recursive": "no"}, "recursive is 'no'; expected true or false"),
        ({"subset": 1}, "subset is 1; expected true or false"),
        ({"images": ["images"]}, "images is ['images']; expected a path"),
        ({"list": True}, "list is True; expected a path"),
    ],
)
def test_wrong_stanzas(folder, changes, message):
    name, path = write(folder, **changes)
    with pytest.raises(UserError) as caught:
        register_yaml_datasets(path)
    assert message in str(caught.value) and name in str(caught.value)
    assert name not in DatasetCatalog


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "holds a list where a map"),
        ("a: 3", "expected keys such as images"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        register_yaml_datasets(path)
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        register_yaml_datasets(tmp_path / "none.yaml")


def test_missing_folder_and_files(folder):
    name, path = write(folder, labels="label")
    register_yaml_datasets(path)
    with pytest.raises(UserError, match=f"'{name}': .*label does not exist"):
        dataset_dicts([name])
    (folder / "labels" / "p1.png").unlink()
    name, path = write(folder)
    register_yaml_datasets(path)
    with pytest.raises(UserError, match="no label file for 1 names: p1"):
        dataset_dicts([name])


def test_same_key_twice(folder):
    Image.new("RGB", (8, 6)).save(folder / "images" / "p0.png")
    name, path = write(folder)
    register_yaml_datasets(path)
    with pytest.raises(UserError, match="'p0' occurs twice"):
        dataset_dicts([name])


def test_taken_name(folder):
    path = folder / "own.yaml"
    path.write_text("voc_20_val: {images: images, labels: labels, names: names.txt}")
    with pytest.raises(UserError, match="name 'voc_20_val' is taken"):
        register_yaml_datasets(path)


def test_one_faulty_annotation_file_leaves_the_other_datasets_usable(folder):
    (folder / "broken.json").write_text('{"images": [], "categories": [')
    stanzas = {
        f"own_{next(_numbers)}": {"images": "images", "names": ["a", "b", "c"], **more}
        for more in (
            {"annotations": "broken.json"},
            {"annotations": "broken.json", "segments": "labels"},
            {"annotations": "gone.json"},
            {"labels": "labels"},
        )
    }
    *faulty, good = stanzas
    path = folder / "several.yaml"
    path.write_text(yaml.safe_dump(stanzas, sort_keys=False))
    assert register_yaml_datasets(path) == list(stanzas)
    assert len(dataset_dicts([good])) == 3 and check_dataset(good).passed
    for name, message in zip(faulty, ["broken.json: cannot"] * 2 + ["gone.json does"], strict=True):
        with pytest.raises(UserError, match=message):
            dataset_dicts([name])
        with pytest.raises(UserError, match=message):
            MetadataCatalog.get(name).get("thing_dataset_id_to_contiguous_id")
        with pytest.raises(UserError, match=message):
            check_datasets([good, name])
        (error,) = check_dataset(name).errors
        assert message in error
    check_datasets([good])


def test_how_names_were_read_is_said_once(folder, caplog):
    (folder / "names.txt").write_text("road; tree; sky")
    name, path = write(folder)
    register_yaml_datasets(path)
    register_yaml_datasets(path)
    (said,) = [r.getMessage() for r in caplog.records if name in r.getMessage()]
    assert "';' was read as a separator, which gives 3 names: road, tree, sky" in said


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("road|way\ntree|way\nsky", "'way' stands for several classes: road, tree"),
        ('"road, way"\ntree\nsky', "'road, way' was read as one name"),
        ('["road; way", "tree", "sky"]', "'road; way' was read as one name"),
        ("name\nroad\ntree", "'name' was read as a name; remove it if it heads a column"),
        ("road\n1\n2", "'1' was read as a name, though it is a number"),
        ("road\nclass\nsky", ""),
        ("road\ntree\nsky", ""),
        ("road,tree,sky", ""),
    ],
)
def test_notes_on_names(folder, caplog, text, note):
    (folder / "names.txt").write_text(text)
    name, path = write(folder)
    register_yaml_datasets(path)
    said = [r.getMessage() for r in caplog.records if name in r.getMessage()]
    assert [note in line for line in said] == ([True] if note else [])


def test_a_path_that_is_too_long_does_not_exist(folder):
    name, path = write(folder, labels="x" * 5000)
    register_yaml_datasets(path)
    with pytest.raises(UserError, match="x does not exist"):
        dataset_dicts([name])
