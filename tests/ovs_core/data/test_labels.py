"""Reading label files and bringing their values to class indices."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs_core import parity
from ovs_core.data import labels
from ovs_core.data.parity import run_label_conversion
from ovs_core.errors import UserError

FIXTURE = Path(__file__).parents[2] / "data" / "data" / "label_conversion.npz"


def test_reference_vectors():
    assert run_label_conversion.__name__ == "run_label_conversion"
    rows = parity.check_file("evaluation", FIXTURE)
    assert len(rows) == 16
    assert [row.name for row in rows if not row.passed] == []


@pytest.mark.parametrize("name", labels.rule_names())
def test_every_rule_gives_a_table(name):
    table = labels.conversion_table(name)
    assert table.shape in ((256,), (65536,)) and table.dtype in (np.uint8, np.uint16)


@pytest.mark.parametrize(
    ("rules", "stored", "expected"),
    [
        (("coco_stuff", "coco_27"), [0, 123, 11, 255], [9, None, 255, 255]),
        (("coco_object_cliptrase",), [0, 79, 80, 81, 170, 255], [0, 79, 80, 255, 255, 80]),
        (("coco_object",), [0, 79, 80, 255], [1, 80, 0, 0]),
        (("zero_is_ignore", "ignore_is_20"), [0, 1, 20, 255], [20, 0, 19, 20]),
        (("zero_is_ignore", "ignore_is_first"), [0, 1, 59], [0, 1, 59]),
        (("ignore_is_59",), [0, 58, 255], [0, 58, 59]),
        (("context_459_foreign",), [0, 458, 459, 65535], [0, 458, 65535, 65535]),
        (("cityscapes_27",), [0, 6, 7, 33, 34, 255], [255, 255, 0, 26, 255, 255]),
        (("cityscapes_19",), [7, 24, 29, 33, 255], [0, 11, 255, 18, 255]),
        (("coco_133",), [0, 1, 90, 200], [255, 0, 79, 132]),
    ],
)
def test_rules(rules, stored, expected):
    wide = max(stored) > 255
    found = labels.convert_labels(np.array([stored], np.uint16 if wide else np.uint8), *rules)
    for got, wanted in zip(found[0].tolist(), expected, strict=True):
        assert wanted is None or got == wanted


def test_value_beyond_the_table_is_refused():
    with pytest.raises(UserError, match="values 3 to 300 do not fit"):
        labels.convert_labels(np.array([[3, 300]], np.uint16), "coco_stuff")


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint8, ".png"), (np.uint16, ".png"),
                                               (np.uint16, ".tif")])  # fmt: skip
def test_files_keep_their_bits(tmp_path, dtype, suffix):
    ids = np.array([[0, 1], [200, np.iinfo(dtype).max]], dtype)
    Image.fromarray(ids).save(tmp_path / f"a{suffix}")
    assert np.array_equal(labels.read_label_file(tmp_path / f"a{suffix}"), ids)


def test_palette_files_give_their_indices(tmp_path):
    ids = np.array([[0, 1], [15, 255]], np.uint8)
    picture = Image.fromarray(ids)
    picture.putpalette([v for i in range(256) for v in (i * 7 % 256, i, 255 - i)])
    picture.save(tmp_path / "a.png")
    assert np.array_equal(labels.read_label_file(tmp_path / "a.png"), ids)


def test_palette_that_hides_grey_ids_is_refused(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    picture.putpalette([v for grey in (3, 7, 255) for v in (grey,) * 3])
    picture.save(tmp_path / "a.png")
    with pytest.raises(UserError, match="index 0 stands for 3"):
        labels.read_label_file(tmp_path / "a.png")


def test_colours_are_refused(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: holds RGB colours where one class id"):
        labels.read_label_file(tmp_path / "a.png")


def test_broken_file_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png: cannot read the label file"):
        labels.load_labels({"sem_seg_file_name": str(tmp_path / "a.png")})


def test_range_check():
    good = np.array([[0, 4, 255]], np.uint8)
    labels.check_label_range(good, 5, 255, path="a.png")
    with pytest.raises(UserError, match=r"a\.png: label value 5, 7 is outside 0\.\.4"):
        labels.check_label_range(np.array([[5, 7, 255]], np.uint8), 5, 255, path="a.png")


def test_segment_colours_there_and_back():
    ids = np.array([[0, 5, 256, 70000]], np.int32)
    colours = labels.color_from_segment_ids(ids)
    assert np.array_equal(labels.segment_ids_from_color(colours), ids)
    assert colours[0, 3].tolist() == [70000 % 256, 70000 // 256 % 256, 1]
