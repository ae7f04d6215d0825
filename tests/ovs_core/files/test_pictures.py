import numpy as np
import pytest
import torch
from PIL import Image

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


def _write(path, data):
    path.write_bytes(data)
    return path
