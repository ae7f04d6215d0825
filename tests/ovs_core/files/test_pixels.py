"""What values mean as pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from ovs_core.errors import UserError
from ovs_core.files.pictures import load_picture, read_picture

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
RGB = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1)


@pytest.mark.parametrize(
    ("values", "notes"),
    [
        (RGB, 0),
        (RGB.astype(np.int32), 0),
        (RGB.astype(np.uint64), 0),
        (RGB.astype(np.uint16) * 257, 0),
        (RGB.astype(np.uint16) << 8, 0),
        (RGB.astype(np.uint16) * 16, 1),  # 12 bits
        (RGB.astype(np.uint16) * 64, 1),
        (RGB.astype(np.uint16), 1),  # 8-bit values in a wider type, as conversions leave them
        (RGB.astype(np.uint16) * 4, 1),
        (RGB.astype(">u2") * 16, 1),
        (RGB / 255, 0),
        (RGB.astype(np.float32) / 255, 0),
        (RGB.astype(np.float16) / 255, 0),
        (RGB.astype(np.float32), 0),
        (RGB.astype(np.float32) + 0.4, 0),
    ],
)
def test_the_same_picture_in_every_type(values, notes):
    picture = load_picture(values)
    assert np.array_equal(picture.rgb, RGB) and len(picture.notes) == notes


def test_a_note_says_how_many_bits_were_read():
    (note,) = load_picture(RGB.astype(np.uint16) * 16).notes
    assert "fill 12 bits only and were read as 12-bit" in note
    (note,) = load_picture(RGB.astype(np.uint16)).notes
    assert "fill 8 bits only and were read as 8-bit" in note


def test_half_precision_tensors():
    tensor = torch.from_numpy(RGB.copy()).permute(2, 0, 1)
    assert np.array_equal(read_picture((tensor / 255).half()), RGB)
    assert np.array_equal(read_picture(tensor.bfloat16()), RGB)  # has 8 bits of precision
    rounded = read_picture((tensor / 255).bfloat16()).astype(int)
    assert abs(rounded - RGB).max() <= 1
    assert np.array_equal(read_picture((tensor / 255).requires_grad_()), RGB)


@pytest.mark.parametrize(("largest", "noted"), [(1.0001, False), (1.2, True), (1.5, True)])
def test_overshoot_is_clipped_and_said(largest, noted):
    values = RGB / 255
    values[0, 0] = largest
    picture = load_picture(values)
    assert picture.rgb[0, 0].tolist() == [255] * 3
    assert np.array_equal(picture.rgb[1:], RGB[1:])
    assert ["clipped" in note for note in picture.notes] == [True] * noted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RGB / 127.5 - 1, "negative values .down to -1., as normalised ones do; pass RGB"),
        (RGB.astype(np.int64) - 1, "negative values .down to -1."),
        (RGB / 255 - 0.01, "negative values"),
        (RGB * 300.0, "up to 76500 in floats are no picture"),
        (RGB.astype(np.int32) * 257, "whole numbers up to 65535 in int32 .* uint16"),
        (RGB.astype(np.uint32) + 1, "whole numbers up to 256 in uint32"),
        (np.full((2, 2, 3), np.inf), "NaN or infinite"),
        (RGB.astype(complex), "type complex128"),
        (RGB.astype(str), "type <U"),
        (np.zeros((3, 4, 5)), "must be"),
        (torch.zeros(1, 3, 8, 8), "must be"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        read_picture(values)


@pytest.mark.parametrize("scale", [1, 257, 16, 1 / 255])
def test_arrays_with_alpha_are_laid_on_white(scale):
    alpha = RAMP[::-1]
    kind = {1: np.uint8, 257: np.uint16, 16: np.uint16}.get(scale, np.float32)
    expected = read_picture(np.dstack([RGB, alpha]))
    scaled = np.dstack([RGB, alpha]).astype(kind) * kind(scale)
    assert np.array_equal(read_picture(scaled), expected)
    grey = read_picture(np.dstack([RAMP, RAMP, RAMP, alpha]))
    scaled = np.dstack([RAMP, alpha]).astype(kind) * kind(scale)
    assert np.array_equal(read_picture(scaled), grey)


def test_opaque_16_bit_alpha_does_not_hide_that_the_colours_have_12_bits():
    opaque = np.full(RAMP.shape, 65535, np.uint16)
    picture = load_picture(np.dstack([RGB.astype(np.uint16) * 16, opaque]))
    assert np.array_equal(picture.rgb, RGB) and len(picture.notes) == 1


def test_a_file_that_states_its_depth_is_believed(tmp_path):
    dark = RAMP.astype(np.uint16) * 16  # would be taken for 12 bits
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 16 16 65535\n" + dark.astype(">u2").tobytes())
    picture = load_picture(path)
    assert np.array_equal(picture.rgb[..., 0], dark >> 8) and picture.notes == ()
    path.write_bytes(b"P5 16 16 4095\n" + dark.astype(">u2").tobytes())
    picture = load_picture(path)
    assert abs(picture.rgb[..., 0].astype(int) - RAMP).max() <= 1 and picture.notes == ()


def test_the_one_clear_value_of_a_deep_png_is_clear(tmp_path):
    deep = RAMP.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a.png", transparency=100 * 257)
    expected = np.where(RAMP == 100, 255, RAMP)
    assert np.array_equal(read_picture(tmp_path / "a.png")[..., 0], expected)


@pytest.mark.parametrize(("largest", "noted"), [(1.6, 1), (15.0, 1), (16.0, 0), (200.0, 0)])
def test_floats_that_come_out_almost_black_are_told_of(largest, noted):
    values = np.linspace(0, largest, 48, dtype=np.float32).reshape(4, 4, 3)
    picture = load_picture(values)
    assert picture.rgb.max() == round(largest)
    assert ["almost black" in note for note in picture.notes] == [True] * noted


@pytest.mark.parametrize("tensor", [torch.eye(4).to_sparse(), torch.empty(3, 4, 4, device="meta")])
def test_a_tensor_without_plain_numbers_is_refused(tensor):
    with pytest.raises(UserError, match="holds no plain numbers; give a dense one"):
        load_picture(tensor)
