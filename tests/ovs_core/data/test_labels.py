"""Reading label files and bringing their values to class indices."""

import numpy as np
import pytest
from PIL import Image

from ovs_core.data import labels, panoptic_png
from ovs_core.errors import UserError
from ovs_core.words.label_space import IGNORE, LabelSpace


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
        labels.stored_labels({"sem_seg_file_name": str(tmp_path / "a.png")})


def test_stored_and_canonical_labels_of_a_record(tmp_path):
    Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8)).save(tmp_path / "a.png")
    record = {"sem_seg_file_name": str(tmp_path / "a.png"), "label_rule": ("zero_is_ignore",)}
    assert labels.stored_labels(record).tolist() == [[255, 0, 1, 255]]
    assert labels.load_labels(record, LabelSpace(2)).tolist() == [[IGNORE, 0, 1, IGNORE]]
    with pytest.raises(UserError, match=r"a\.png: label value 1 is outside 0\.\.0"):
        labels.load_labels(record, LabelSpace(1))


def test_segment_colours_there_and_back():
    ids = np.array([[0, 5, 256, 70000]], np.int32)
    colours = panoptic_png.color_from_segment_ids(ids)
    assert np.array_equal(panoptic_png.segment_ids_from_color(colours), ids)
    assert colours[0, 3].tolist() == [70000 % 256, 70000 // 256 % 256, 1]
