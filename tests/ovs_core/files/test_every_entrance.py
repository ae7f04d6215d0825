"""Any picture has the same pixels through every entrance: generated files against plain sums."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ovs_core.data.findings import inspect_record
from ovs_core.data.mapper import SemanticDatasetMapper
from ovs_core.errors import UserError
from ovs_core.files.pictures import load_picture, read_header, read_picture
from ovs_core.predict.reading import find_files, read_inputs
from ovs_core.web.inputs import Limits, read_upload
from ovs_core.web.sessions import Stored

CASES = Path(__file__).parents[2] / "data" / "cases"
BITS = (8, 10, 12, 14, 16)
CHANNELS = {"grey": 1, "grey and alpha": 2, "RGB": 3, "RGBA": 4}
# Format -> what it can hold here: kinds of channels, largest number of bits, an EXIF block.
FORMATS = {
    "png": (tuple(CHANNELS), 16, True),
    "tif": (("grey", "RGB", "RGBA"), 8, True),
    "webp": (("RGB", "RGBA"), 8, True),
    "bmp": (("grey", "RGB"), 8, False),
    "ppm": (("RGB",), 8, False),
    "deep.tif": (("grey", "RGB"), 16, False),
    "float.tif": (("grey",), 8, False),
}


@dataclass
class Case:
    """A picture as it is stored.

    Attributes:
        form: key of ``FORMATS``.
        values: (H, W, C) uint8 or uint16.
        bits: that hold the values.
        orientation: value of the EXIF tag; 1 for no tag.
    """

    form: str
    values: np.ndarray
    bits: int
    orientation: int

    def colours(self):
        """(H, W, C) uint8 as a careful reader sees them: the upper eight bits."""
        return (self.values >> (self.bits - 8)).astype(np.uint8)

    def pixels(self):
        """(H, W, 3) floats, on white and upright."""
        colours = self.colours().astype(float)
        has_alpha = colours.shape[-1] in (2, 4)
        alpha = colours[..., -1:] / 255 if has_alpha else np.ones_like(colours[..., :1])
        seen = (colours[..., :-1] if has_alpha else colours) * alpha + 255 * (1 - alpha)
        return turned(np.broadcast_to(seen, (*seen.shape[:2], 3)), self.orientation)


def turned(array, orientation):
    """What each value of the tag means, as the standard lists them."""
    return {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.rot90(np.fliplr(a), 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.fliplr(a), -1),
        8: lambda a: np.rot90(a, 1),
    }[orientation](array)


@st.composite
def cases(draw):
    form = draw(st.sampled_from(sorted(FORMATS)))
    kinds, most, has_exif = FORMATS[form]
    channels = CHANNELS[draw(st.sampled_from(kinds))]
    bits = draw(st.sampled_from([b for b in BITS if b <= most]))
    height, width, seed = (draw(st.integers(1, n)) for n in (9, 9, 2**32 - 1))
    shape = (height, width, channels)
    values = np.random.default_rng(seed).integers(0, 2**bits, shape, dtype=np.uint16)
    values[0, 0] = 2**bits - 1  # the data shows its depth; pixel 0 is opaque
    values[-1, -1, 0] |= 1  # and is not a stretched 8-bit picture
    if bits == 16 and values.size < 3:
        values[0, 0, 0] = 65534
    orientation = draw(st.integers(1, 8)) if has_exif else 1
    return Case(form, values.astype(np.uint8) if bits == 8 else values, bits, orientation)


def write(case, folder):
    """Write a case; PNG by hand, as no library at hand writes all of its kinds."""
    path = folder / f"a.{case.form}"
    single = case.values[..., 0] if case.values.shape[-1] == 1 else case.values
    exif = Image.Exif()
    if case.orientation != 1:
        exif[0x0112] = case.orientation
    if case.form == "png":
        path.write_bytes(png(case.values, exif.tobytes() if case.orientation != 1 else b""))
    elif case.form == "deep.tif":
        path.write_bytes(tiff(case.values))
    elif case.form == "float.tif":
        Image.fromarray(single.astype(np.float32) / 255).save(path)
    else:
        more = {"exif": exif, "lossless": True, "exact": True} if case.form != "bmp" else {}
        Image.fromarray(single).save(path, **more)
    return path


def png(values, exif):
    """A PNG of 8 or 16 bits in one to four channels."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    bits = 8 * values.dtype.itemsize
    rows = values.astype(f">u{bits // 8}").reshape(height, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    chunks += [(b"eXIf", exif.removeprefix(b"Exif\0\0"))] if exif else []
    chunks += [(b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def tiff(values):
    """A plain big-endian TIFF of 8 or 16 bits, grey or RGB."""
    height, width, channels = values.shape
    bits = 8 * values.dtype.itemsize
    data = values.astype(f">u{bits // 8}").tobytes()
    depths = struct.pack(f">{channels}H", *[bits] * channels)
    behind = 8 + 2 + 9 * 12 + 4  # where what does not fit an entry begins
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, None), (259, 3, 1, 1),
        (262, 3, 1, 1 if channels == 1 else 2), (273, 4, 1, behind + len(depths)),
        (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data)),
    ]  # fmt: skip
    packed = b""
    for tag, kind, count, value in entries:
        packed += struct.pack(">HHI", tag, kind, count)
        if value is None:
            packed += depths.ljust(4, b"\0") if channels == 1 else struct.pack(">I", behind)
        else:
            packed += struct.pack(">I", value) if kind == 4 else struct.pack(">HH", value, 0)
    head = b"MM\0*" + struct.pack(">IH", 8, len(entries))
    return head + packed + struct.pack(">I", 0) + depths + data


def entrances(case, path):
    """The pixels through each entrance."""
    (one,) = read_inputs(find_files([path]))
    yield one.load().rgb  # the command
    sent = Stored(path, path.name, path.stat().st_size)
    yield read_upload(sent, Limits()).picture.rgb  # the page
    mapped = SemanticDatasetMapper(False, augmentations=[])({"file_name": str(path)})
    yield mapped["image"].permute(1, 2, 0).numpy()  # training and evaluation
    yield read_picture(str(path), "BGR")[..., ::-1]
    with Image.open(path) as image:
        yield read_picture(image)
    values = turned(case.values, case.orientation).copy()
    yield read_picture(values)
    yield read_picture(torch.from_numpy(values).permute(2, 0, 1))
    if case.bits == 8:
        yield read_picture(values.astype(np.int64))
        yield read_picture(values / 255)


def readers(path):
    """The entrances that take a file: of the command, the page, training and the checker."""
    sent = Stored(path, path.name, path.stat().st_size)
    mapper = SemanticDatasetMapper(False, augmentations=[])
    return [
        lambda: next(iter(read_inputs([path]))).load().rgb,
        lambda: read_upload(sent, Limits()).picture.rgb,
        lambda: mapper({"file_name": str(path)})["image"].permute(1, 2, 0).numpy(),
        lambda: inspected(path),
    ]


def inspected(path):
    """Raise what the checker says; gives the pixels, which it keeps to itself."""
    found = inspect_record({"file_name": str(path)})
    if found.errors:
        raise UserError(found.errors[0])
    assert [line.removeprefix(f"{path}: ") for line in found.warnings] == list(
        load_picture(path).notes
    )
    return read_picture(path)


@pytest.mark.parametrize(
    "path", sorted(CASES.glob("*pictures/*")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_files_that_people_have_are_the_same_to_every_entrance(path):
    try:
        expected = read_picture(path)
    except UserError:
        expected = None
    for read in readers(path):
        if expected is None:
            with pytest.raises(UserError) as caught:
                read()
            assert path.name in str(caught.value) and "\n" not in str(caught.value)
        else:
            assert np.array_equal(read(), expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(case=cases())
def test_every_entrance_sees_the_same_pixels(folder, case):
    compare_entrances(folder, case)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(case=cases())
def test_every_entrance_sees_the_same_pixels_of_500_pictures(folder, case):
    compare_entrances(folder, case)


def compare_entrances(folder, case):
    path = write(case, folder)
    picture = load_picture(path)
    expected = case.pixels()
    assert picture.rgb.shape == expected.shape == (*read_header(path).upright, 3)
    off = abs(picture.rgb - expected)
    assert off.max() <= (1 if case.values.shape[-1] in (2, 4) else 0)  # rounding of mixtures
    assert [f"read as {case.bits}-bit" in note for note in picture.notes] == [True] * (
        8 < case.bits < 16
    )
    for seen in entrances(case, path):
        assert np.array_equal(seen, picture.rgb)
