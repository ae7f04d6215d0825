import numpy as np
import pytest
import torch
from detectron2.data.detection_utils import read_image
from PIL import Image

from ovs_core.errors import UserError
from ovs_core.files.listing import iter_files
from ovs_core.files.pictures import find_pictures, read_header, read_picture

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
    assert np.array_equal(read_picture(np.asarray(clear)), read_picture(clear))
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


def test_colours_of_every_mode_and_order(tmp_path):
    for mode in ("L", "RGBA", "LA", "P", "CMYK", "1"):
        path = tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}"
        Image.fromarray(RGB).convert(mode).save(path)
        rgb, bgr = read_picture(path), read_picture(path, "BGR")
        assert rgb.shape == RGB.shape and np.array_equal(bgr, rgb[..., ::-1])
    with pytest.raises(UserError, match="INPUT.FORMAT: 'YUV' is unknown. .*Choices: RGB, BGR"):
        read_picture(RGB, "YUV")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_pixels_are_those_of_detectron2(tmp_path, mode, channels):
    exif = Image.Exif()
    exif[0x0112] = 5
    noise = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(tmp_path / "a.jpg", exif=exif)
    expected = read_image(str(tmp_path / "a.jpg"), channels)
    assert np.array_equal(read_picture(tmp_path / "a.jpg", channels), expected)


def test_what_a_file_says_of_itself(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(RGB).save(tmp_path / "turned.jpg", exif=exif)
    assert read_header(tmp_path / "turned.jpg") == ((4, 5), (5, 4), "RGB", 8)
    assert read_picture(tmp_path / "turned.jpg").shape == (5, 4, 3)
    assert read_picture(tmp_path / "turned.jpg", exif=False).shape == (4, 5, 3)
    with pytest.raises(UserError, match=r"none\.png: cannot be read as a picture"):
        read_header(tmp_path / "none.png")


def test_a_file_that_would_unpack_without_end_is_refused(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(UserError, match=r"a\.png: cannot be decoded .*OVSUITE_MAX_PIXELS sets"):
        read_picture(tmp_path / "a.png")


def test_pictures_of_a_folder(tmp_path):
    with pytest.raises(UserError, match="holds no picture"):
        find_pictures(tmp_path)
    names = ["b.JPG", "a.png", "c.Tiff", "notes.txt", "._a.png", ".DS_Store", ".hidden.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in find_pictures(tmp_path)] == ["a.png", "b.JPG", "c.Tiff"]


def test_files_below_a_folder(tmp_path):
    for folder in ("part", "part/deep", ".checkpoints"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a_labels.PNG").write_bytes(b"")
    ends = ("_labels.png",)
    assert not list(iter_files(tmp_path, ends))
    found = sorted(iter_files(tmp_path, ends, recursive=True))
    assert found == [str(tmp_path / f / "a_labels.PNG") for f in ("part", "part/deep")]


def _write(path, data):
    path.write_bytes(data)
    return path
