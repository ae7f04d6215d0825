"""Rows of other libraries' datasets, as files that the suite reads."""

import numpy as np
import pytest
from PIL import Image

from ovs_core.commands import main
from ovs_core.data.own_datasets import read_yaml_datasets, write_rows
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture

NAMES = ["road", "car", "sky"]
RNG = np.random.default_rng(0)


def make_row(size=(6, 8), top=3):
    image = RNG.integers(0, 255, (*size, 3), np.uint8)
    return {"image": Image.fromarray(image), "label": RNG.integers(0, top, size).astype(np.uint8)}


def test_rows_become_a_dataset_that_training_reads(tmp_path, capsys):
    rows = [make_row(), make_row((9, 7))]
    rows[1]["label"][0, 0] = 255
    stanza = write_rows(tmp_path, "rows_val", iter(rows), NAMES)
    (dataset,) = read_yaml_datasets(stanza)
    assert dataset.name == "rows_val" and list(dataset.classes.names) == NAMES
    for row, record in zip(rows, dataset.records(), strict=True):
        assert np.array_equal(read_picture(record["file_name"]), np.asarray(row["image"]))
        with Image.open(record["sem_seg_file_name"]) as labels:
            assert np.array_equal(np.asarray(labels), row["label"])
    assert main(["check-dataset", "--yaml", str(stanza)]) == 0
    assert "rows_val: good" in capsys.readouterr().out
    with pytest.raises(UserError, match="rows_val: exists already"):
        write_rows(tmp_path, "rows_val", rows, NAMES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": np.zeros((6, 9), int)}, r"row 1 of own: 'label' is int64 of shape \(6, 9\)"),
        ({"label": np.zeros((6, 8), np.float32)}, "needed are whole numbers"),
        ({"label": np.zeros((6, 8, 3), np.uint8)}, "a class index per pixel"),
        ({"label": np.full((6, 8), -1)}, "values from -1 to -1"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        write_rows(tmp_path, "own", [make_row(), {**make_row(), **change}], NAMES)
    assert not (tmp_path / "own.yaml").exists()


def test_a_key_that_rows_lack_is_named(tmp_path):
    with pytest.raises(UserError, match="row 0 of own: has no 'annotation', only image, label"):
        write_rows(tmp_path, "own", [make_row()], NAMES, labels="annotation")
    with pytest.raises(UserError, match="other: there is no row"):
        write_rows(tmp_path, "other", [], NAMES)


def test_a_dataset_of_hugging_face(tmp_path):
    """Stored as its own files are, read back as a stream."""
    datasets = pytest.importorskip("datasets", reason="extra of another library")
    if not hasattr(datasets, "Dataset"):
        pytest.skip("the folder datasets/ of the suite is no library")
    rows = [make_row() for _ in range(3)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    given = [{"image": row["image"], "label": Image.fromarray(row["label"])} for row in rows]
    made = datasets.Dataset.from_list(given, features=features).to_iterable_dataset()
    stanza = write_rows(tmp_path, "own", made, NAMES)
    records = read_yaml_datasets(stanza)[0].records()
    assert len(records) == 3
    assert np.array_equal(read_picture(records[2]["file_name"]), np.asarray(rows[2]["image"]))
