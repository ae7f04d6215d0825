"""Results in the hands of a person and of other tools."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovs_core.errors import UserError
from ovs_core.predict.bridges import label_studio_task
from ovs_core.predict.result import Result
from ovs_core.predict.segment import Segment

NAMES = ["house", "sky", "sea", "wall", "brick"]


@pytest.fixture
def result(tmp_path):
    """4 x 6 pixels: two rows of sky, a house, and background of two words."""
    labels = np.zeros((4, 6), np.int32)
    labels[:2], labels[2:, 4:] = 1, 3
    image = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    scores = np.linspace(0, 1, 5 * 24, dtype=np.float32).reshape(5, 4, 6)
    return Result(
        labels, NAMES, image, source="/photos/street.jpg", background=(3, 4),
        rescore=lambda: scores,
    )  # fmt: skip


@pytest.fixture
def panoptic():
    """Two cups and a sea, as a panoptic method gives them."""
    ids = np.array([[1, 1, 0, 2], [1, 3, 3, 2]], np.int32)
    info = [
        {"id": 1, "category_id": 0, "isthing": True},
        {"id": 2, "category_id": 0, "isthing": True},
        {"id": 3, "category_id": 1, "isthing": False},
    ]
    labels = np.array([[0, 0, 1, 0], [0, 1, 1, 0]], np.int32)
    image = np.zeros((2, 4, 3), np.uint8)
    return Result(labels, ["cup", "sea"], image, segment_ids=ids, segments_info=info)


def test_the_mask_of_a_word(result):
    assert result.mask("sky").dtype == bool
    assert np.array_equal(result.mask("sky"), result.labels == 1)
    assert not result.mask("sea").any()
    # Background words are counted together.
    assert np.array_equal(result.mask("brick"), result.mask("wall"))
    with pytest.raises(UserError, match="word: 'skye' is unknown. Did you mean 'sky'"):
        result.mask("skye")


def test_the_masks_of_things(panoptic):
    cups = panoptic.find("cup")
    assert [cup.area for cup in cups] == [3, 2]
    assert np.array_equal(panoptic.mask(cups[1]), panoptic.segment_ids == 2)
    assert panoptic.mask("cup").sum() == 5
    assert panoptic.find("sea")[0].area == 2
    with pytest.raises(UserError, match="is unknown"):
        panoptic.find("house")


def test_the_score_of_a_segment_is_the_mean_of_its_word(result):
    (sky,) = result.find("sky")
    assert result.score(sky) == pytest.approx(float(result.scores[1, :2].mean()))
    other = Segment("sky", 1, 99, 0.5, (0, 0, 1, 1))
    with pytest.raises(UserError, match=r"'sky' \(99 pixels\) is no segment of <Result"):
        result.score(other)
    with pytest.raises(UserError, match="without a predictor"):
        Result(result.labels, NAMES, result.image).score(sky)


def test_a_segment_is_cut_out(result):
    (house,) = result.find("house")
    assert np.array_equal(result.crop(house), result.image[2:, :4])
    cut = result.crop(house, margin=1, cut_out=True)
    assert cut.shape == (3, 5, 4)  # as far as the picture goes
    assert np.array_equal(cut[..., 3] == 255, result.mask("house")[1:, :5])
    with pytest.raises(UserError, match="margin -1"):
        result.crop(house, margin=-1)
    crop = result.crop(house)
    crop[:] = 0
    assert result.image.any()  # the picture itself is not what was changed


def test_a_result_shows_itself_in_short(result):
    assert repr(result) == "<Result street.jpg, 4 x 6, 5 words: sky 50 %, house 33 %, wall 17 %>"
    shown = np.asarray(Image.open(io.BytesIO(result._repr_png_())))
    assert np.array_equal(shown, result.overlay())


def test_a_result_is_drawn_with_matplotlib(result):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    axes = result.plot()
    assert np.array_equal(axes.images[0].get_array(), result.overlay())
    assert result.plot(axes) is axes
    plt.close("all")


@pytest.mark.parametrize("polygons", [False, True])
def test_the_content_of_a_coco_file(result, polygons):
    content = json.loads(json.dumps(result.to_coco(polygons=polygons, scores=True)))
    (image,) = content["images"]
    assert (image["height"], image["width"]) == (4, 6)
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert list(names.values()) == NAMES
    for one, segment in zip(content["annotations"], result.segments, strict=True):
        assert names[one["category_id"]] == segment.name and one["area"] == segment.area
        assert one["score"] == pytest.approx(result.score(segment))
        if not polygons:
            mask = rle.decode(one["segmentation"]).astype(bool)
            assert np.array_equal(mask, result.mask(segment))
    assert "score" not in result.to_coco()["annotations"][0]


def test_a_table(result, panoptic):
    pytest.importorskip("pandas")
    table = result.to_pandas(scores=True)
    assert list(table["name"]) == ["sky", "house", "wall"]
    assert list(table["area"]) == [12, 8, 4] and list(table["is_background"]) == [
        False,
        False,
        True,
    ]
    assert tuple(table.loc[0, ["left", "top", "right", "bottom"]]) == (0, 0, 6, 2)
    assert table["score"][0] == pytest.approx(result.score(result.segments[0]))
    assert "score" not in panoptic.to_pandas()
    assert list(panoptic.to_pandas()["is_thing"]) == [True, True, False]


def test_detections(result, panoptic):
    supervision = pytest.importorskip("supervision")
    found = result.to_supervision(scores=True)
    assert isinstance(found, supervision.Detections) and len(found) == 3
    assert list(found["class_name"]) == ["sky", "house", "wall"]
    assert found.confidence[0] == pytest.approx(result.score(result.segments[0]))
    assert np.array_equal(found.mask[1], result.mask("house"))
    assert found.xyxy[1].tolist() == [0, 2, 4, 4]
    things = panoptic.to_supervision()
    assert things.confidence is None and things.class_id.tolist() == [0, 0, 1]
    assert np.array_equal(things.mask[1], panoptic.segment_ids == 2)


def test_nothing_found_is_no_detection():
    pytest.importorskip("supervision")
    ids = np.zeros((2, 2), np.int32)
    nothing = Result(ids, ["cup"], np.zeros((2, 2, 3), np.uint8), segment_ids=ids)
    assert len(nothing.to_supervision()) == 0
    assert nothing.to_coco()["annotations"] == []


class Fake:
    """Stands for ``supervision.Detections``: keeps what it is given."""

    def __init__(self, **given):
        self.given = given


def test_detections_are_given_by_the_fields_of_supervision(result, monkeypatch):
    """Where the package itself is not installed."""
    module = type(sys)("supervision")
    module.Detections = Fake
    monkeypatch.setitem(sys.modules, "supervision", module)
    given = result.to_supervision().given
    assert set(given) == {"xyxy", "mask", "class_id", "confidence", "data"}
    assert given["mask"].shape == (3, 4, 6) and given["xyxy"].shape == (3, 4)


@pytest.mark.parametrize(
    ("method", "package"), [("to_supervision", "supervision"), ("to_pandas", "pandas")]
)
def test_a_missing_package_is_named(result, monkeypatch, method, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"needs the package {package}; pip install -e"):
        getattr(result, method)()


def test_a_task_of_label_studio(result):
    """Its polygons, in percent as Label Studio has them, fill the masks again to the pixel."""
    task = json.loads(json.dumps(label_studio_task(result.labelled, "/data/street.jpg")))
    assert task["data"] == {"image": "/data/street.jpg"}
    (prediction,) = task["predictions"]
    masks = dict.fromkeys(NAMES, np.zeros((4, 6), bool))
    for region in prediction["result"]:
        assert (region["type"], region["from_name"], region["to_name"]) == (
            "polygonlabels", "label", "image"
        )  # fmt: skip
        assert (region["original_width"], region["original_height"]) == (6, 4)
        points = np.array(region["value"]["points"])
        assert points.min() >= 0 and points.max() <= 100
        (name,) = region["value"]["polygonlabels"]
        corners = (points * (6, 4) / 100).ravel().tolist()
        filled = rle.decode(rle.frPyObjects([corners], 4, 6))[..., 0].astype(bool)
        masks[name] = masks[name] | filled
    for segment in result.segments:
        assert np.array_equal(masks[segment.name], result.mask(segment))
    assert len({region["id"] for region in prediction["result"]}) == len(prediction["result"])


def test_annotators_of_supervision_draw_a_result(result):
    supervision = pytest.importorskip("supervision")
    drawn = supervision.MaskAnnotator().annotate(result.image.copy(), result.to_supervision())
    assert drawn.shape == result.image.shape and (drawn != result.image).any()
