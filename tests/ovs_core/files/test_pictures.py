import numpy as np
import pytest
import torch
from PIL import Image

from ovs_core.draw.captions import Caption, draw_captions
from ovs_core.draw.colors import word_color
from ovs_core.draw.renderer import legend, overlay, palette, render, sheet, with_legend
from ovs_core.errors import UserError
from ovs_core.files.pictures import find_pictures, read_picture

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def test_every_kind_of_source_gives_the_same_array(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    sources = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(RGB),
        RGB,
        torch.from_numpy(RGB).permute(2, 0, 1),
        RGB.astype(np.float32) / 255,
    ]
    for source in sources:
        assert np.array_equal(read_picture(source), RGB)


def test_grey_alpha_16_bit_and_palette():
    grey = RGB[..., 0]
    assert np.array_equal(read_picture(grey), np.repeat(grey[..., None], 3, -1))
    assert np.array_equal(read_picture(Image.fromarray(grey)), read_picture(grey))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(read_picture(deep), read_picture(grey))
    clear = Image.new("RGBA", (3, 2), (255, 0, 0, 0))
    assert np.array_equal(read_picture(clear), np.full((2, 3, 3), 255, np.uint8))
    assert read_picture(Image.fromarray(RGB).convert("P")).shape == RGB.shape


def test_exif_rotation_is_applied(tmp_path):
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[0x0112] = 6  # turn clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "turned.png"), np.rot90(RGB, -1))


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert tuple(read_picture(tmp_path / "a.gif")[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "none.png", "no such picture"),
        (lambda p: _write(p / "broken.png", b"not a picture"), r"broken\.png: cannot be decoded"),
        (lambda p: np.zeros((2, 3, 7)), "must be"),
        (lambda p: np.zeros((0, 3, 3)), "must be"),
        (lambda p: np.full((2, 2, 3), np.nan), "NaN"),
        (lambda p: 5, "cannot read a picture from int"),
    ],
)
def test_what_is_no_picture(tmp_path, make, message):
    with pytest.raises(UserError, match=message):
        read_picture(make(tmp_path))


def test_a_truncated_picture_is_named(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        tmp_path / "a.jpg"
    )
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"a\.jpg: cannot be decoded"):
        read_picture(tmp_path / "a.jpg")


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match="holds no picture"):
        find_pictures(tmp_path)


def test_colours_are_stable_and_apart():
    assert word_color("Cat") == word_color("cat")
    colors = palette([f"word {i}" for i in range(24)]).astype(int)
    distances = np.abs(colors[:, None] - colors[None]).sum(-1)
    assert distances[~np.eye(24, dtype=bool)].min() > 20


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
    ignored = overlay(image, np.full((40, 60), 255), colors, ignore=255)
    assert len(np.unique(ignored[5, 5])) == 1  # grey


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
    captions = [Caption(0, "a name that fits"), Caption(1, "a name far too long for it")]
    drawn = draw_captions(picture, regions, captions, 14).any(-1)
    assert drawn[:, :300].any() and not drawn[:, 300:].any()


def test_a_legend_of_many_or_long_names_keeps_its_width():
    names = [f"name {i}" for i in range(150)]
    assert legend(names, palette(names), 683).shape[1] == 683
    long = legend(["x" * 5000], palette(["x"]), 200)
    assert long.shape[1] == 200 and long.shape[0] < 60


def _write(path, data):
    path.write_bytes(data)
    return path
