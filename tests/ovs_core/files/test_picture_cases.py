"""Picture files that people have, whole and broken."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ovs_core.errors import UserError
from ovs_core.files.pictures import load_picture, read_header, read_picture
from ovs_core.files.raster import BROKEN_EXIF, limit_pixels

CASES = Path(__file__).parents[2] / "data" / "cases"
WHOLE, BROKEN = CASES / "pictures", CASES / "broken_pictures"
SCENE = read_picture(WHOLE / "base.png").astype(int)
GREY = np.asarray(Image.open(WHOLE / "base.png").convert("L")).astype(int)[..., None]

# File -> note, of those broken files that still hold a picture; the others are refused.
READABLE = {
    "cmyk.jpg": "", "exif_garbage.jpg": BROKEN_EXIF, "exif_loop.jpg": "", "flip0_f.gif": "",
    "flip0_f.webp": "", "flip1_f.gif": "", "flip1_f.tif": "", "flip1_f.webp": "", "flip2_f.gif": "",
    "flip2_f.tif": "",
    "flip3_f.tif": "", "flip3_f.webp": "", "flip4_f.jpg": "", "flip4_f.tif": "",
    "flip4_f.webp": "", "jpeg_as_png.png": "", "lab.tif": "", "mode1.png": "", "one_L.png": "",
    "pal.png": "", "tall.png": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected", "most", "note"),
    [
        ("base.png", SCENE, 0, ""),
        ("grey16.png", GREY, 0, ""),
        ("grey12in16.png", GREY, 0, "read as 12-bit"),
        ("float01.tif", GREY, 0, ""),
        ("exif6.jpg", SCENE, 20, ""),  # JPEG's own loss
        ("cmyk.jpg", SCENE, 20, ""),
        ("anim.gif", SCENE, 40, ""),  # 256 colours
    ],
)
def test_one_scene_in_many_forms(name, expected, most, note):
    picture = load_picture(WHOLE / name)
    assert picture.rgb.shape == SCENE.shape
    off = abs(picture.rgb - expected)
    assert np.quantile(off, 0.99) <= most and off.mean() <= most / 5
    assert [note in said for said in picture.notes] == [True] * bool(note)


@pytest.mark.parametrize("name", ["rgba.png", "pal_trans.png"])
def test_transparency_is_laid_on_white(name):
    rgba = np.asarray(Image.open(WHOLE / name).convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert abs(read_picture(WHOLE / name) - expected).max() <= 1 and (alpha < 1).any()


@pytest.mark.parametrize("name", sorted(os.listdir(BROKEN)))
def test_a_broken_file_is_read_with_a_note_or_refused_in_one_line(name):
    path = BROKEN / name
    if name in READABLE:
        assert load_picture(path).notes == ((READABLE[name],) if READABLE[name] else ())
        assert read_header(path).upright == read_picture(path).shape[:2]
    else:
        with pytest.raises(UserError) as caught:
            read_picture(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ") and "\n" not in message
        assert message.count(str(path)) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exif_garbage.jpg", BROKEN_EXIF),
        ("big_nodata.png", "truncated"),
        ("huge_header.png", "than"),
    ],
)
def test_what_is_odd_is_said_in_one_line(name, said):
    """In a process of its own, as pytest has its own way with warnings."""
    program = "import sys; from ovs_core.files.pictures import *\n" \
        "try: load_picture(sys.argv[1])\n" \
        "except UserError as error: print(error, file=sys.stderr)"  # fmt: skip
    line = [sys.executable, "-c", program, str(BROKEN / name)]
    done = subprocess.run(line, capture_output=True, text=True)
    (only,) = done.stderr.strip().splitlines()
    assert done.returncode == 0 and said in only


@pytest.mark.parametrize("program", ["eps.png", "eps_evil.jpg", "pdf.png", "xpm.png"])
def test_formats_that_are_programs_are_not_even_tried(program, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("runs something"))
    with pytest.raises(UserError, match="none of .*BMP, .*GIF, JPEG, .*WEBP"):
        read_picture(BROKEN / program)


def test_the_limit_of_pixels_can_be_set(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setenv("OVSUITE_MAX_PIXELS", "0.001")
    Image.new("L", (50, 40)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png: .*more than 0.001 million pixels"):
        read_header(tmp_path / "a.png")
    limit_pixels(0.0021)
    assert read_picture(tmp_path / "a.png").shape == (40, 50, 3)
    for wrong in ("many", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("OVSUITE_MAX_PIXELS", wrong)
        with pytest.raises(UserError, match=f"OVSUITE_MAX_PIXELS is '{wrong}'; expected millions"):
            read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_every_orientation_in_every_format(tmp_path, value, suffix):
    exif = Image.Exif()
    exif[0x0112] = value
    noise = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise).save(path, exif=exif, lossless=True)
    stored = read_picture(path, exif=False)
    assert stored.shape == noise.shape and (suffix == ".jpg" or np.array_equal(stored, noise))
    tagged = Image.fromarray(stored)
    tagged.getexif()[0x0112] = value
    expected = np.asarray(ImageOps.exif_transpose(tagged))
    assert np.array_equal(read_picture(path), expected)
    header = read_header(path)
    assert header == (noise.shape[:2], expected.shape[:2], "RGB", value)


def test_a_value_of_exif_that_means_nothing_turns_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.new("RGB", (3, 2)).save(tmp_path / "a.jpg", exif=exif)
    picture = load_picture(tmp_path / "a.jpg")
    assert picture.rgb.shape == (2, 3, 3) and picture.notes == ()


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder.png: .*no such file"):
        read_picture(tmp_path / "folder.png")
    os.mkfifo(tmp_path / "pipe.png")  # whoever opens it waits for ever
    with pytest.raises(UserError, match=r"pipe.png: .*no such file"):
        read_picture(tmp_path / "pipe.png")
    for name in ("x" * 300 + ".png", "zero\0.png"):
        with pytest.raises(UserError, match=r"no such picture|cannot be"):
            read_picture(tmp_path / name)
