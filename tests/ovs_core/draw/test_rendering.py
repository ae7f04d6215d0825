import numpy as np
import pytest

from ovs_core.draw import legend, overlay, palette, render, sheet, with_legend
from ovs_core.draw.captions import draw_captions


def test_overlay_legend_and_sheet():
    image = np.full((40, 60, 3), 100, np.uint8)
    labels = np.zeros((40, 60), int)
    labels[:, 30:] = 1
    colors = palette(["a", "b"])
    shown = overlay(image, labels, colors)
    assert shown.shape == image.shape
    assert (shown[5, 30] == 255).all()  # the line between the regions
    assert not np.array_equal(shown[5, 5], shown[5, 50])
    captioned = with_legend(image, labels, ["a", "b"])
    assert captioned.shape[0] > 40 and captioned.shape[1] == 60
    assert sheet([[image, shown], [image, shown]], ["x", "y"]).shape[1] > 120
    nameless = overlay(image, np.full((40, 60), 255), colors)
    assert len(np.unique(nameless[5, 5])) == 1  # grey


def quarters(height=300, width=400):
    image = np.full((height, width, 3), 100, np.uint8)
    labels = np.zeros((height, width), np.int32)
    labels[:, width // 2 :] = 1
    labels[height // 2 :, : width // 2] = 2
    return image, labels


def test_rendering_is_repeatable_and_names_the_regions():
    image, labels = quarters()
    names = ["sofa", "猫 собака 😀", "wall", "absent"]
    first = render(image, labels, names)
    assert np.array_equal(first, render(image, labels, names))
    assert not np.array_equal(first, render(image, labels, ["bed", *names[1:]]))
    bare = render(image, labels, names, with_legend=False)
    assert bare.shape == (300, 400, 3) and first.shape[0] > 300
    plain = overlay(image, labels, palette(names), strength=0.5)
    top_left = np.s_[:148, :198]  # the name is written into the region, in white on dark
    changed = (bare != plain).any(-1)
    assert changed[top_left].sum() > 100
    assert (bare[top_left][changed[top_left]].min(), bare[top_left].max()) == (20, 255)


@pytest.mark.parametrize(
    ("size", "shown"),
    [((1, 1), (512, 512)), ((2, 100), (10, 500)), ((300, 400), (300, 400)),
     ((3000, 4096), (1500, 2048)), ((20000, 20), (2048, 2))],
)  # fmt: skip
def test_small_pictures_are_enlarged_and_large_ones_reduced(size, shown):
    image, labels = np.zeros((*size, 3), np.uint8), np.zeros(size, np.int32)
    assert render(image, labels, ["sky"], with_legend=False).shape == (*shown, 3)
    assert render(image, labels, ["sky"]).shape[1] == max(320, shown[1])


def test_things_of_one_name_differ_in_shade_and_are_counted():
    image, labels = quarters()
    info = [{"id": i, "isthing": True, "category_id": 0} for i in (1, 2)]
    ids = np.where(labels == 0, 1, np.where(labels == 1, 2, 0)).astype(np.int32)
    shown = render(image, np.zeros_like(labels), ["car"], segment_ids=ids, segments_info=info,
                   with_legend=False)  # fmt: skip
    assert tuple(shown[250, 50]) == (100, 100, 100)  # no segment, no paint
    assert not np.array_equal(shown[10, 10], shown[10, 390])


def test_names_stay_inside_their_regions_and_need_room():
    picture, regions = np.zeros((60, 400, 3), np.uint8), np.zeros((60, 400), int)
    regions[:, 300:] = 1
    captions = {0: "a name that fits", 1: "a name far too long for it"}
    drawn = draw_captions(picture, regions, captions, 14).any(-1)
    assert drawn[:, :300].any() and not drawn[:, 300:].any()


def test_a_legend_of_many_or_long_names_keeps_its_width():
    names = [f"name {i}" for i in range(150)]
    assert legend(names, palette(names), 683).shape[1] == 683
    long = legend(["x" * 5000], palette(["x"]), 200)
    assert long.shape[1] == 200 and long.shape[0] < 60
