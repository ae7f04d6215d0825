"""Annotation files with one thing wrong each, and those of other programs that are right."""

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs_core.data import dataset_dicts
from ovs_core.errors import UserError

from .annotation_world import (
    boxes_answer,
    registered,
    segments_answer,
    tiny_instances,
    train_and_evaluate,
    verdict,
    write_pictures,
    write_stanza,
    write_world,
)

CASES = Path(__file__).parents[2] / "data" / "cases"
FILES = sorted((CASES / "annotations").glob("*.json"))

# File -> what the one line says behind the path of the file; all others are good.
FIRST, SEGMENT = r"annotations\[0\]", r"annotations\[0\]\.segments_info\[0\]"
UNREADABLE = "cannot read the annotation file"
REFUSED = {
    "inst_bbox_huge": rf"{FIRST}\.bbox: .* reaches outside the picture",
    "inst_bbox_nan": rf"{FIRST}\.bbox\[0\]: should be a finite number, not nan; .*\.bbox\[1\]",
    "inst_bbox_none": rf"{FIRST}\.bbox: .*at least 4 items",
    "inst_bbox_outside": rf"{FIRST}\.bbox: .* reaches outside the picture",
    "inst_bbox_text": rf"{FIRST}\.bbox\[0\]: should be a valid number, not 'a'",
    "inst_no_category_id": rf"{FIRST}\.category_id: is missing",
    "inst_no_id": rf"{FIRST}\.id: is missing",
    "inst_no_segmentation": rf"{FIRST}\.segmentation: is missing or empty, though",
    "inst_seg_nan": rf"{FIRST}\.segmentation\[0\]\[0\]: should be a finite number",
    "inst_seg_odd": rf"{FIRST}\.segmentation\[0\]: holds 3 numbers",
    "inst_seg_poly_str": rf"{FIRST}\.segmentation\[0\]\[0\]: should be a valid number, not 'a'",
    "inst_seg_rle_neg": rf"{FIRST}\.segmentation\.counts: should be a text, or a list of whole",
    "inst_seg_rle_none": rf"{FIRST}\.segmentation\.size: .*; {FIRST}\.segmentation\.counts",
    "inst_seg_rle_size": rf"{FIRST}\.segmentation\.size: is \[1000000, 1000000\], but the pict",
    "inst_seg_rle_wrong": rf"{FIRST}\.segmentation\.size: is \[5, 5\], but the picture",
    "panoptic_ann_dict": r"annotations: should be a valid list",
    "panoptic_ann_file_5": rf"{FIRST}\.file_name: should be a valid string, not 5",
    "panoptic_ann_file_None": rf"{FIRST}\.file_name: should be a valid string, not None",
    "panoptic_ann_file_parent": r"no panoptic PNG file for 1 names: \.\./\.\./etc/passwd",
    "panoptic_ann_file_root": r"no panoptic PNG file for 1 names: /etc/passwd",
    "panoptic_ann_no_file_name": rf"{FIRST}\.file_name: is missing",
    "panoptic_ann_no_segments_info": rf"{FIRST}\.segments_info: is missing",
    "panoptic_ann_null": r"annotations: should be a valid list, not None",
    "panoptic_cat_dup_id": r"categories\[1\]\.id: 0 occurs more than once",
    "panoptic_cat_dup_name": r"categories\[1\]\.name: 'car' stands in categories\[0\] already",
    "panoptic_cat_no_isthing": r"categories\[0\]\.isthing: is missing",
    "panoptic_cat_no_name": r"categories\[0\]\.name: is missing",
    "panoptic_cats_null": r"categories: should be a valid list, not None",
    "panoptic_crowd_all": r"not an annotation file; expected a JSON object",
    "panoptic_dup_seg": r"segments_info\[7\]\.id: 1 occurs more than once",
    "panoptic_empty_ann": r"annotations: .* at least 1 item",
    "panoptic_height_-5": r"images\[0\]\.height: should be greater than 0, not -5",
    "panoptic_height_1.5": r"images\[0\]\.height: should be a valid integer.*, not 1\.5",
    "panoptic_height_1000000000": r"images\[0\]\.height: should be less than or equal to 1000000",
    "panoptic_height_x": r"images\[0\]\.height: should be a valid integer.*, not 'x'",
    "panoptic_img_no_file_name": r"images\[0\]\.file_name: is missing",
    "panoptic_img_no_id": r"images\[0\]\.id: is missing",
    "panoptic_list": r"not an annotation file; expected a JSON object",
    "panoptic_no_categories": r"categories: is missing",
    "panoptic_raw_nan": r"categories\[0\]\.isthing: should be a valid boolean.*, not nan",
    "panoptic_seg_cat_999": rf"{SEGMENT}\.category_id: 999 is not in the class list",
    "panoptic_seg_cat_None": rf"{SEGMENT}\.category_id: should be a number.*, not None",
    "panoptic_seg_id_-1": rf"{SEGMENT}\.id: should be greater than or equal to 1, not -1",
    "panoptic_seg_id_1.5": rf"{SEGMENT}\.id: should be a number",
    "panoptic_seg_id_None": rf"{SEGMENT}\.id: should be a number",
    "panoptic_seg_id_list": rf"{SEGMENT}\.id: should be a number",
    "panoptic_seg_id_object": rf"{SEGMENT}\.id: should be a number",
    "panoptic_seg_no_category_id": rf"{SEGMENT}\.category_id: is missing",
    "panoptic_seg_no_id": rf"{SEGMENT}\.id: is missing",
    "panoptic_segs_null": rf"{FIRST}\.segments_info: should be a valid list, not None",
    **dict.fromkeys((p.stem for p in FILES if "_flip" in p.stem or "_raw_" in p.stem), UNREADABLE),
}
REFUSED["panoptic_raw_nan"] = r"categories\[0\]\.isthing: should be a valid boolean.*, not nan"
WARNED = {
    "inst_bbox_empty": "annotation 1 is left out: its box has no width or no height",
    "inst_seg_few": "annotation 1 is left out: its polygons have less than three points",
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """The pictures of the good file of each kind."""
    made = {}
    for kind, stem in (("instances", "inst"), ("panoptic", "panoptic")):
        content = json.loads((CASES / "annotations" / f"{stem}_good.json").read_text())
        folder = tmp_path_factory.mktemp(stem)
        write_pictures(folder, content, kind)
        made[stem] = (folder, kind, [c["name"] for c in content["categories"]])
    return made


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_one_thing_wrong(file, worlds, caplog):
    caplog.set_level(logging.CRITICAL)
    folder, kind, names = worlds[file.stem.split("_")[0]]
    shutil.copyfile(file, folder / "annotations.json")
    stanza = write_stanza(folder, names, kind)
    errors, warnings = verdict(stanza)
    if file.stem not in REFUSED:
        assert not errors
        expected = WARNED.get(file.stem)
        assert [expected in line for line in warnings] == [True] if expected else not warnings
        return
    (error,) = errors
    assert "\n" not in error and "annotations.json" in error
    assert re.search(REFUSED[file.stem], error)
    with pytest.raises(UserError) as caught, registered(stanza) as name:
        dataset_dicts([name])
    assert str(caught.value) == error


@pytest.mark.parametrize("fault", ["size", "cut", "zero"])
def test_png_that_does_not_fit(fault, tmp_path):
    content = json.loads((CASES / "annotations" / "panoptic_good.json").read_text())
    names = [c["name"] for c in content["categories"]]
    stanza = write_world(tmp_path, content, "panoptic", names)
    path = tmp_path / "segments" / "000000.png"
    if fault == "size":
        Image.open(path).resize((64, 64), Image.Resampling.NEAREST).save(path)
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:150])
    else:
        Image.new("RGB", (256, 192)).save(path)
    errors, warnings = verdict(stanza)
    if fault == "zero":
        assert not errors and "segments of the JSON without a pixel: 1, 2, 3" in warnings[0]
        return
    (error,) = errors
    assert str(path) in error
    with pytest.raises(UserError) as caught:
        train_and_evaluate(stanza, segments_answer(tmp_path, names))
    assert str(caught.value) == error


def place(tmp_path, stem, **more):
    """Lay a file of ``annotated`` out as a dataset."""
    source, kind = CASES / "annotated", "panoptic" if stem.startswith("pan") else "instances"
    shutil.copytree(source / "images", tmp_path / "images")
    shutil.copytree(source / "pan", tmp_path / "segments")
    shutil.copytree(source / "pan", tmp_path / "good")
    shutil.copyfile(source / f"{stem}.json", tmp_path / "annotations.json")
    shutil.copyfile(source / "pan_ok.json", tmp_path / "good.json")
    names = (source / f"{stem.split('_')[0]}_names.txt").read_text().split()
    return write_stanza(tmp_path, names, kind, **more), names


def objects_of(stem):
    content = json.loads((CASES / "annotated" / f"{stem}.json").read_text())
    files = {one["id"]: one["file_name"] for one in content["images"]}
    named = {one["id"]: one["name"] for one in content["categories"]}
    return [
        (files[int(a["image_id"])], named[a["category_id"]], a["bbox"])
        for a in content["annotations"]
    ]


@pytest.mark.parametrize("stem", ["inst_ok", "inst_strimg", "inst_nobbox"])
def test_instances_of_other_programs_are_right(stem, tmp_path):
    stanza, names = place(tmp_path, stem)
    assert verdict(stanza) == ([], [])
    results = train_and_evaluate(stanza, boxes_answer(objects_of("inst_ok"), names))
    assert results["bbox"]["AP"] == pytest.approx(100) and "segm" not in results


def test_root_category_is_left_out_where_the_dataset_says_so(tmp_path):
    stanza, names = place(tmp_path, "inst_roboflow")
    (error,) = verdict(stanza)[0]
    assert "categories[0].name: category 'toys'" in error and "drop_categories: [toys]" in error
    for entry in ("toys", 0):
        stanza = write_stanza(tmp_path, names, "instances", drop_categories=[entry])
        assert verdict(stanza) == ([], [])
        results = train_and_evaluate(stanza, boxes_answer(objects_of("inst_ok"), names))
        assert results["bbox"]["AP"] == pytest.approx(100)
        assert len([k for k in results["bbox"] if k.startswith("AP-")]) == len(names)


def test_an_annotated_category_cannot_be_dropped(tmp_path):
    stanza, names = place(tmp_path, "inst_ok")
    kept = [name for name in names if name != "car"]
    stanza = write_stanza(tmp_path, kept, "instances", drop_categories=["car"])
    (error,) = verdict(stanza)[0]
    assert "annotations[0].category_id: 1 is not in the class list" in error


@pytest.mark.parametrize(
    ("value", "message"),
    [("toys", "expected a list of names or ids"), (["car"], "'car' is both a name and one of")],
)
def test_drop_categories_that_cannot_be(value, message, tmp_path):
    place(tmp_path, "inst_ok")
    stanza = write_stanza(tmp_path, ["car"], "instances", drop_categories=value)
    assert message in verdict(stanza)[0][0]


def test_masks_of_some_only_are_refused_and_empty_boxes_counted(tmp_path):
    stanza, _ = place(tmp_path / "a", "inst_emptyseg")
    assert "annotations[0].segmentation: is missing or empty" in verdict(stanza)[0][0]
    stanza, _ = place(tmp_path / "b", "inst_zerobox")
    errors, (warning,) = verdict(stanza)
    assert not errors and "annotation 1 is left out" in warning


def test_a_class_that_the_file_does_not_list_can_be_predicted(tmp_path):
    stanza = write_world(tmp_path, tiny_instances(), "instances", ["eel", "cat", "dog"])
    assert verdict(stanza) == ([], [])
    objects = [("1.png", "eel", [0, 0, 5, 5]), ("2.png", "cat", [0, 0, 30, 20])]
    results = train_and_evaluate(stanza, boxes_answer(objects, ["eel", "cat", "dog"]))
    assert results["bbox"]["AP50"] == pytest.approx((100 * 51 / 101 + 0) / 2)
    assert np.isnan(results["bbox"]["AP-eel"])


def test_annotation_of_id_0_counts(tmp_path):
    content = tiny_instances()
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = number
    stanza = write_world(tmp_path, content, "instances", ["cat", "dog"])
    objects = [("1.png", "cat", [2, 3, 10, 8]), ("1.png", "dog", [15, 5, 9, 9]),
               ("2.png", "cat", [0, 0, 30, 20])]  # fmt: skip
    results = train_and_evaluate(stanza, boxes_answer(objects, ["cat", "dog"]))
    assert results["bbox"]["AP"] == pytest.approx(100)


def test_sizes_that_the_file_lacks_are_read(tmp_path):
    content = tiny_instances()
    stanza = write_world(tmp_path, content, "instances", ["cat", "dog"])
    for one in content["images"]:
        del one["height"], one["width"]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert verdict(stanza) == ([], [])
    with registered(stanza) as name:
        assert [(r["height"], r["width"]) for r in dataset_dicts([name])] == [(20, 30)] * 2


def test_panoptic_set_evaluates_in_every_way(tmp_path):
    stanza, names = place(tmp_path, "pan_ok")
    assert verdict(stanza) == ([], [])
    results = train_and_evaluate(stanza, segments_answer(tmp_path, names))
    panoptic, semantic = results["panoptic_seg"], results["sem_seg"]
    assert panoptic["PQ"] == panoptic["PQ_th"] == panoptic["PQ_st"] == pytest.approx(100)
    assert semantic["mIoU"] == pytest.approx(100) and semantic["classes-absent"] == 18


def test_things_of_the_dataset_stand_in_for_isthing(tmp_path):
    stanza, names = place(tmp_path, "pan_noisthing")
    assert "categories[0].isthing: is missing" in verdict(stanza)[0][0]
    stanza = write_stanza(tmp_path, names, "panoptic", things=["car", "house"])
    assert verdict(stanza) == ([], [])
    results = train_and_evaluate(stanza, segments_answer(tmp_path, names))["panoptic_seg"]
    assert results["PQ_th"] == results["PQ_st"] == pytest.approx(100)


@pytest.mark.parametrize("flags", [(0, 1), (False, True), ("0", "1"), ("false", "true")])
def test_isthing_in_every_spelling(flags, tmp_path):
    place(tmp_path, "pan_ok")
    path = tmp_path / "annotations.json"
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["isthing"] = flags[category["isthing"]]
    path.write_text(json.dumps(content))
    names = [category["name"] for category in content["categories"]]
    with registered(write_stanza(tmp_path, names, "panoptic")) as name:
        from detectron2.data import MetadataCatalog

        assert MetadataCatalog.get(name).thing_classes == names[:20]


def test_an_area_below_the_pixels_is_refused(tmp_path):
    stanza, names = place(tmp_path, "pan_ok")
    path = tmp_path / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0]["area"] = 5
    path.write_text(json.dumps(content))
    (error,) = verdict(stanza)[0]
    assert "423 pixels belong to segment 1, but the JSON states an area of 5" in error
    with pytest.raises(UserError) as caught:
        train_and_evaluate(stanza, segments_answer(tmp_path, names))
    assert str(caught.value) == error
