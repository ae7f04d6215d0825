"""Masks and matrices of another program, a file per picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from cliptrase.mask_files import NONE, FileSource, masks_at
from cliptrase.regions import RegionRule
from ovs_core.data.build import dataset_dicts
from ovs_core.data.labels import load_labels
from ovs_core.engine.run import run
from ovs_core.errors import UserError
from ovs_core.words.label_space import label_space
from tests.cliptrase.helpers import build_model

HALVES = np.repeat([[7, 9]], 100, axis=1).repeat(140, axis=0)  # (140, 200)


def write(folder, array, suffix=".npy"):
    folder.mkdir(exist_ok=True)
    if suffix == ".png":
        Image.fromarray(array).save(folder / "7.png")
    elif suffix == ".npz":
        np.savez_compressed(folder / "7.npz", masks=array)
    else:
        np.save(folder / "7.npy", array)
    return FileSource(folder)


def overlapping():
    masks = np.zeros((2, 140, 200), dtype=bool)
    masks[0, :, 100:] = masks[1] = True
    return masks


def with_none(array, value):
    array = array.copy()
    array[:10] = value
    return array


@pytest.mark.parametrize(
    ("array", "suffix", "numbers"),
    [
        (HALVES.astype(np.uint8), ".png", {0, 1}),
        (with_none(HALVES.astype(np.uint8), 255), ".png", {NONE, 0, 1}),
        (with_none(HALVES.astype(np.uint16), 65535), ".png", {NONE, 0, 1}),
        (with_none(HALVES, -5), ".npy", {NONE, 0, 1}),
        (overlapping(), ".npz", {0, 1}),
        (overlapping()[:1].astype(np.uint8), ".npy", {NONE, 0}),
    ],
)
def test_pixels_vote_in_the_masks_of_a_file(clip, picture, tmp_path, array, suffix, numbers):
    source = write(tmp_path / "masks", array, suffix)
    given = {"file_name": "x/7.jpg", "image": picture, "height": 140, "width": 200}
    assert set(source.masks(given).unique().tolist()) == numbers
    model = build_model(clip, mask_source=source)
    labels = model([given])[0]["sem_seg_labels"]
    masks = source.masks(given)
    for number in numbers - {NONE}:
        assert len(labels[masks == number].unique()) == 1
    plain = build_model(clip, regions=None)([given])[0]["sem_seg_labels"]
    assert torch.equal(labels[masks == NONE], plain[masks == NONE])
    assert not torch.equal(labels, plain)


def test_a_matrix_of_a_file_is_clustered(clip, picture, tmp_path):
    rule = RegionRule(0.1, 3, denoise="none")
    model = build_model(clip, regions=rule)
    count = model.encode_picture(picture).dense.patches.shape[1]
    features = np.eye(2, dtype=np.float32)[(np.arange(count) < count // 2).astype(int)]
    model.mask_source = write(tmp_path / "masks", features)
    (encoded,) = model.encode_pictures([picture], [{"file_name": "7.jpg"}])
    assert encoded.regions.count == 2 and encoded.given is None


def test_the_square_of_the_published_protocol_cuts_masks_as_the_truth():
    masks = torch.from_numpy(HALVES)
    cut = masks_at(masks, (56, 56), square=True)
    assert cut.shape == (56, 56) and set(cut.unique().tolist()) == {7, 9}
    with pytest.raises(UserError, match="masks are 140 x 200, the picture's labels are 56 x 56"):
        masks_at(masks, (56, 56), square=False)


@pytest.mark.parametrize(
    ("array", "given", "message"),
    [
        (HALVES, {}, "needs the file_name of a picture"),
        (HALVES, {"file_name": "8.jpg"}, "holds no 8.png"),
        (HALVES[0], {"file_name": "7.jpg"}, r"7.npy: holds int64 of shape \(200,\)"),
        (np.array([{}]), {"file_name": "7.jpg"}, "7.npy: is no array"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, array, given, message):
    with pytest.raises(UserError, match=message):
        write(tmp_path / "masks", array).masks(given)


def test_folders_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        FileSource(tmp_path / "none")
    with pytest.raises(UserError, match="holds no"):
        FileSource(tmp_path)
    write(tmp_path, HALVES)
    with pytest.raises(UserError, match="are of one picture"):
        write(tmp_path, HALVES.astype(np.uint8), ".png")


@pytest.fixture
def few():
    """Two pictures of the embedded world, registered for the length of a test."""
    name = "masks_of_files_val"
    records = dataset_dicts(["embedded_sem_seg_val"])[:2]
    metadata = MetadataCatalog.get("embedded_sem_seg_val").as_dict()
    DatasetCatalog.register(name, lambda: [{**r, "dataset_name": name} for r in records])
    MetadataCatalog.get(name).set(**{k: v for k, v in metadata.items() if k != "name"})
    yield name, records
    DatasetCatalog.remove(name), MetadataCatalog.remove(name)


def test_an_evaluation_reads_them(few, tmp_path):
    """The true segments as masks beat the method's own."""
    name, records = few
    masks = tmp_path / "masks"
    masks.mkdir()
    for record in records:
        truth = load_labels(record, label_space(name)).astype(np.uint16)
        Image.fromarray(truth).save(masks / f"{Path(record['file_name']).stem}.png")
    options = ["DATASETS.TEST", f"('{name}',)", "OUTPUT_DIR", str(tmp_path / "run")]
    own = run("cliptrase/tiny", options, eval_only=True)["sem_seg"]
    source = ["MODEL.CLIPTRASE.MASK_SOURCE", f"file:{masks}"]
    found = run("cliptrase/tiny", [*options, *source], eval_only=True)["sem_seg"]
    assert found["mIoU"] > own["mIoU"]
