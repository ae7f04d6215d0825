"""Annotations out: what is written is read back by COCO's own tools, and nothing is lost."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from scipy import ndimage

from ovs_core.errors import UserError
from ovs_core.predict.annotation_files import save_annotations
from ovs_core.predict.annotations import FORMATS, read_labelled
from ovs_core.predict.parts import SavedResult
from ovs_core.predict.polygons import polygons_of
from ovs_core.predict.result import Result

NAMES = ["car", "sky", "sand", "grün, Gras"]
FILES = {
    "coco": "annotations_coco.json",
    "polygons": "annotations_polygons.json",
    "panoptic": "annotations_panoptic.json",
    "csv": "annotations.csv",
}


def blobs(seed, most, size=(40, 56)):
    """A map of numbers 0..most with holes, islands and pixels that touch at corners."""
    noise = np.random.default_rng(seed).standard_normal((most + 1, *size))
    return ndimage.gaussian_filter(noise, (0, 1.5, 1.5)).argmax(0).astype(np.int32)


def semantic(name="a", seed=0, **more):
    image = np.full((40, 56, 3), seed, np.uint8)
    return Result(blobs(seed, 3), NAMES, image, source=f"/set/{name}.jpg", **more)


def things(name="b", seed=1):
    """Of a panoptic method: 0 is void, segments 1 and 2 are cars, 3 is sky."""
    ids = blobs(seed, 3)
    info = [{"id": i, "category_id": int(i == 3), "isthing": i < 3} for i in (1, 2, 3)]
    return Result(
        (ids == 3).astype(np.int32), NAMES, np.full((40, 56, 3), seed, np.uint8),
        source=f"/set/{name}.jpg", segment_ids=ids, segments_info=info,
    )  # fmt: skip


def masks(result):
    """(name, id or None) -> mask, as the result says."""
    if result.segment_ids is None:
        return {(s.name, None): result.labels == s.index for s in result.segments}
    return {(s.name, s.id): result.segment_ids == s.id for s in result.segments}


def save(results, folder, **more):
    return save_annotations([r.labelled for r in results], folder, root="/set", **more)


def same(found, expected):
    """Whether lists of masks hold the same masks, in any order."""
    return sorted(m.tobytes() for m in found) == sorted(m.tobytes() for m in expected)


@pytest.mark.parametrize("kind", ["coco", "polygons"])
def test_instances_are_read_back_by_pycocotools(tmp_path, kind, capsys):
    results = {"a.jpg": semantic(), "b.jpg": things()}
    (path,) = save(results.values(), tmp_path, formats=[kind])
    assert path == tmp_path / FILES[kind]
    coco = COCO(str(path))
    assert {image["file_name"] for image in coco.imgs.values()} == set(results)
    for image in coco.imgs.values():
        expected = masks(results[image["file_name"]])
        found = coco.loadAnns(coco.getAnnIds([image["id"]]))
        assert (image["height"], image["width"]) == (40, 56)
        pairs = [(coco.cats[a["category_id"]]["name"], coco.annToMask(a) > 0) for a in found]
        for word in NAMES:
            assert same([m for name, m in pairs if name == word],
                        [m for (name, _), m in expected.items() if name == word])  # fmt: skip
        for annotation, (_, mask) in zip(found, pairs, strict=True):
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == list(rle.toBbox(coco.annToRLE(annotation)))
    assert [c["id"] for c in coco.cats.values()] == [1, 2, 3, 4]


def test_panoptic_is_read_back_as_panopticapi_does(tmp_path):
    results = {"a": semantic(), "b": things()}
    save(results.values(), tmp_path, formats=["panoptic"])
    content = json.loads((tmp_path / FILES["panoptic"]).read_text(encoding="utf-8"))
    names = {c["id"]: c["name"] for c in content["categories"]}
    assert {c["name"]: c["isthing"] for c in content["categories"]} == {
        "car": 1, "sky": 0, "sand": 0, "grün, Gras": 0
    }  # fmt: skip
    files = {image["id"]: image["file_name"] for image in content["images"]}
    assert len(content["annotations"]) == 2
    for annotation in content["annotations"]:
        name = files[annotation["image_id"]].removesuffix(".jpg")
        png = Image.open(tmp_path / "annotations_panoptic" / annotation["file_name"])
        color = np.asarray(png).astype(np.uint32)
        ids = color[..., 0] + 256 * color[..., 1] + 256**2 * color[..., 2]  # panopticapi's rgb2id
        expected = masks(results[name])
        assert same([ids == s["id"] for s in annotation["segments_info"]], expected.values())
        for segment in annotation["segments_info"]:
            mask = ids == segment["id"]
            assert segment["area"] == mask.sum() > 0 and segment["iscrowd"] == 0
            assert any(names[segment["category_id"]] == word and np.array_equal(m, mask)
                       for (word, _), m in expected.items())  # fmt: skip
        assert set(np.unique(ids)) - {0} == {s["id"] for s in annotation["segments_info"]}


def test_a_table_is_read_back(tmp_path):
    results = {"a.jpg": semantic(), "b.jpg": things()}
    save(results.values(), tmp_path, formats=["csv"])
    with open(tmp_path / FILES["csv"], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(r.segments) for r in results.values())
    for name, result in results.items():
        mine = [row for row in rows if row["picture"] == name]
        found = {
            (row["name"], int(row["id"]) if row["id"] else None): rle.decode(
                {"size": [int(row["height"]), int(row["width"])], "counts": row["rle"]}
            ) > 0
            for row in mine
        }  # fmt: skip
        expected = masks(result)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], expected[key]) for key in found)
        assert [int(row["area"]) for row in mine] == [s.area for s in result.segments]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 6), (13, 12)])
def test_polygons_lose_no_pixel(size):
    rng = np.random.default_rng(0)
    for _ in range(60):
        mask = rng.random(size) < rng.random()
        found = polygons_of(mask)
        if not mask.any():
            assert found == []
            continue
        packed = rle.frPyObjects([[float(v) for v in polygon] for polygon in found], *size)
        assert np.array_equal(rle.decode(rle.merge(packed)) > 0, mask)
        assert sum(rle.area(packed)) == mask.sum()  # they don't overlap
        assert all(len(polygon) >= 8 for polygon in found)


def test_each_annotation_says_what_made_it(tmp_path):
    hashes = {"config": "c0", "weights": "w0", "words": "v0", "picture": "p0"}
    result = semantic(trace=lambda: hashes)
    save([result], tmp_path, about={"method": "mine"})
    annotations = []
    for kind in ("coco", "polygons", "panoptic"):
        annotations += json.loads((tmp_path / FILES[kind]).read_text())["annotations"]
    origins = [annotation["provenance"] for annotation in annotations]
    with open(tmp_path / FILES["csv"], encoding="utf-8", newline="") as file:
        origins += [json.loads(row["provenance"]) for row in csv.DictReader(file)]
    assert len(origins) == 4 + 4 + 1 + 4
    assert all(o | hashes | {"made_by": "ovsuite", "method": "mine"} == o for o in origins)


def test_results_on_disk_give_the_same_as_those_in_memory(tmp_path):
    results = [semantic(), things()]
    for result in results:
        result.save(tmp_path / "out")
    read = [read_labelled(SavedResult(tmp_path / "out", name)) for name in "ab"]
    save(results, tmp_path / "memory")
    save_annotations(read, tmp_path / "disk", root="/set")
    for name in FILES.values():
        assert (tmp_path / "memory" / name).read_bytes() == (tmp_path / "disk" / name).read_bytes()


# What is there already


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_ours_and_made_anew_is_replaced(tmp_path, kind):
    save([semantic(), things()], tmp_path, formats=[kind])
    before = snapshot(tmp_path)
    save([semantic(), things()], tmp_path, formats=[kind])
    assert snapshot(tmp_path) == before
    save([semantic(seed=5), things(seed=6)], tmp_path, formats=[kind])
    assert snapshot(tmp_path).keys() == before.keys() and snapshot(tmp_path) != before


@pytest.mark.parametrize("kind", FORMATS)
def test_other_pictures_are_not_dropped(tmp_path, kind):
    save([semantic(), things()], tmp_path, formats=[kind])
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=f"{FILES[kind]}: holds .* --merge"):
        save([semantic()], tmp_path, formats=[kind])
    assert snapshot(tmp_path) == before
    save([semantic("c", 7)], tmp_path, formats=[kind], merge=True)
    text = (tmp_path / FILES[kind]).read_text(encoding="utf-8")
    assert all(f"{name}.jpg" in text for name in "abc")
    save([semantic("c", 7)], tmp_path, formats=[kind], merge=True)  # replaced, not added again
    again = (tmp_path / FILES[kind]).read_text(encoding="utf-8")
    assert again.count("made_by") == text.count("made_by")


def person_s_instances():
    return {
        "info": {"contributor": "me"},
        "licenses": [{"id": 3, "name": "mine"}],
        "images": [{"id": 70, "file_name": "a.jpg", "height": 40, "width": 56, "license": 3},
                   {"id": 71, "file_name": "z.jpg", "height": 4, "width": 5}],
        "categories": [{"id": 9, "name": "sky", "supercategory": "stuff"},
                       {"id": 2, "name": "dog"}],
        "annotations": [{"id": 5, "image_id": 70, "category_id": 9, "iscrowd": 0, "area": 4,
                         "bbox": [0, 0, 2, 2], "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]},
                        {"id": 8, "image_id": 71, "category_id": 2, "iscrowd": 0, "area": 1,
                         "bbox": [0, 0, 1, 1], "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]}],
    }  # fmt: skip


def test_a_person_s_instances_are_merged_only_if_asked_for_and_kept_whole(tmp_path):
    path, mine = tmp_path / FILES["coco"], person_s_instances()
    path.write_text(json.dumps(mine))
    with pytest.raises(UserError, match="exists, and holds annotations that the suite did not"):
        save([semantic()], tmp_path, formats=["coco"])
    assert json.loads(path.read_text()) == mine
    for _ in range(2):  # the second time, what the first added is replaced
        save([semantic()], tmp_path, formats=["coco"], merge=True)
        merged = json.loads(path.read_text())
        assert all(a in merged["annotations"] for a in mine["annotations"])
        assert merged["images"] == mine["images"]
        assert merged["categories"][:2] == mine["categories"]
        assert merged["licenses"] == mine["licenses"] and merged["info"] == mine["info"]
        assert [c["name"] for c in merged["categories"]] == ["sky", "dog", "car", "sand", NAMES[3]]
        for key in ("annotations", "categories"):
            ids = [entry["id"] for entry in merged[key]]
            assert len(set(ids)) == len(ids)
        added = [a for a in merged["annotations"] if "provenance" in a]
        assert len(added) == 4 and {a["image_id"] for a in added} == {70}
        assert {a["category_id"] for a in added} >= {9}
    with pytest.raises(UserError, match="--merge"):
        save([semantic()], tmp_path, formats=["coco"])
    with pytest.raises(UserError, match="says that z.jpg has 4 x 5 pixels, but it has 40 x 56"):
        save([semantic("z")], tmp_path, formats=["coco"], merge=True)


def move_box(content):
    content["annotations"][0]["bbox"][0] += 1


def rename_category(content):
    content["categories"][0]["name"] = "auto"


def remove_annotation(content):
    del content["annotations"][1]


def add_annotation(content):
    content["annotations"].append({"id": 99, "image_id": 1, "category_id": 1})


@pytest.mark.parametrize("kind", ["coco", "panoptic"])
@pytest.mark.parametrize("change", [move_box, rename_category, remove_annotation, add_annotation])
def test_a_file_that_somebody_changed_is_kept(tmp_path, kind, change):
    if (kind, change) == ("panoptic", move_box):
        pytest.skip("its annotations have no boxes of their own")
    path = tmp_path / FILES[kind]
    save([semantic(), things()], tmp_path, formats=[kind])
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="--merge"):
        save([semantic(), things()], tmp_path, formats=[kind])
    assert snapshot(tmp_path) == before
    save([semantic(), things()], tmp_path, formats=[kind], merge=True)
    merged = json.loads(path.read_text())
    if change is move_box:
        assert content["annotations"][0] in merged["annotations"]
    if change is add_annotation:
        assert content["annotations"][-1] in merged["annotations"]
    if change is rename_category:
        assert content["categories"][0] in merged["categories"]


def test_a_person_s_panoptic_annotation_stays_the_only_one(tmp_path, caplog):
    path = tmp_path / FILES["panoptic"]
    save([semantic(), things()], tmp_path, formats=["panoptic"])
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0]["category_id"] = 2
    path.write_text(json.dumps(content))
    png = tmp_path / "annotations_panoptic" / "a.png"
    Image.fromarray(np.asarray(Image.open(png))).save(png)  # drawn anew by another program
    before = png.read_bytes()
    save([semantic(seed=4), things()], tmp_path, formats=["panoptic"], merge=True)
    merged = json.loads(path.read_text())
    assert len(merged["annotations"]) == 2 and content["annotations"][0] in merged["annotations"]
    assert png.read_bytes() == before and "a.jpg is annotated by someone else" in caplog.text


def test_a_person_s_png_is_not_overwritten(tmp_path):
    png = tmp_path / "annotations_panoptic" / "a.png"
    png.parent.mkdir()
    Image.new("RGB", (56, 40)).save(png)
    before = png.read_bytes()
    with pytest.raises(UserError, match=r"a\.png: exists and was not made by the suite"):
        save([semantic()], tmp_path, formats=["panoptic"])
    assert png.read_bytes() == before and not (tmp_path / FILES["panoptic"]).exists()


def test_a_table_that_somebody_changed_is_kept(tmp_path):
    path = tmp_path / FILES["csv"]
    save([semantic(), things()], tmp_path, formats=["csv"])
    whole = path.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = [whole[0], whole[1].replace("a.jpg,40", "a.jpg,41"), *whole[2:]]
    for lines in (changed, [whole[0], *whole[2:]], [*whole, whole[1]]):
        path.write_text("".join(lines), encoding="utf-8")
        with pytest.raises(UserError, match="exists, and holds rows that the suite did not make"):
            save([semantic(), things()], tmp_path, formats=["csv"])
        assert path.read_text(encoding="utf-8") == "".join(lines)
    path.write_text("".join(changed), encoding="utf-8")
    save([semantic(), things()], tmp_path, formats=["csv"], merge=True)
    merged = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert set(merged) == {*whole, changed[1]} and len(merged) == len(whole) + 1


NO_ANNOTATIONS = (
    "",
    "no json",
    "[]",
    '{"images": [], "annotations": []}',
    '{"images": [{}], "annotations": [], "categories": []}',
)


@pytest.mark.parametrize("content", NO_ANNOTATIONS)
@pytest.mark.parametrize("merge", [False, True])
def test_a_file_that_is_no_annotations_is_refused(tmp_path, content, merge):
    for kind in FORMATS:
        path = tmp_path / FILES[kind]
        path.write_text(content)
        with pytest.raises(UserError, match=f"{path.name}: exists and .* move it away"):
            save([semantic()], tmp_path, formats=[kind], merge=merge)
        assert path.read_text() == content
        path.unlink()


def test_a_result_of_python_writes_and_merges(tmp_path):
    first, second = semantic(), things()
    assert {p.name for p in first.save_annotations(tmp_path)} == set(FILES.values())
    second.save_annotations(tmp_path, merge=True)
    content = json.loads((tmp_path / FILES["coco"]).read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.jpg", "b.jpg"]
    with pytest.raises(UserError, match="format: 'cocoa' is unknown. Did you mean 'coco'"):
        first.save_annotations(tmp_path, ["cocoa"])
