"""The semantic mapper: what it gives, and what it refuses."""

import random

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from PIL import Image

from ovs_core.data import SemanticDatasetMapper, build_mapper, dataset_dicts
from ovs_core.data.config import add_data_config
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture
from ovs_core.words.label_space import IGNORE, UNSEEN
from tests.miniatures import SOURCES, write_layout

NAME = "mapper_test_world"


@pytest.fixture(autouse=True)
def world():
    if NAME not in MetadataCatalog:
        MetadataCatalog.get(NAME).set(
            stuff_classes=list("abcdef"),
            ignore_label=255,
            seen_classes=[0, 2, 3, 5],
            unseen_classes=[1, 4],
        )


@pytest.fixture
def record(tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    labels = rng.choice(np.array([0, 1, 2, 3, 4, 5, 255], np.uint8), (30, 40))
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(labels).save(tmp_path / "a_label.png")
    return {
        "file_name": str(tmp_path / "a.png"),
        "sem_seg_file_name": str(tmp_path / "a_label.png"),
        "image_id": "a",
        "dataset_name": NAME,
    }


def config(**changes):
    cfg = get_cfg()
    add_data_config(cfg)
    cfg.DATASETS.TRAIN = (NAME,)
    cfg.DATASETS.TEST = (NAME,)
    cfg.INPUT.MIN_SIZE_TRAIN = (24,)
    cfg.INPUT.MAX_SIZE_TRAIN = 50
    cfg.INPUT.MIN_SIZE_TEST = 15
    for key, value in changes.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


def plain(**changes):
    return SemanticDatasetMapper(True, augmentations=[], **changes)


def test_training_sample(record):
    np.random.seed(0)
    before = dict(record)
    mapped = build_mapper(config(), is_train=True)(record)
    assert record == before
    assert mapped["image"].shape == (3, 24, 32) and mapped["image"].dtype == torch.uint8
    assert mapped["sem_seg"].shape == (24, 32) and mapped["sem_seg"].dtype == torch.int64
    assert (mapped["height"], mapped["width"]) == (30, 40)
    assert mapped["sem_seg_file_name"] == record["sem_seg_file_name"]


def test_test_sample_has_its_own_size_and_no_labels(record):
    mapped = build_mapper(config(), is_train=False)(record)
    assert mapped["image"].shape == (3, 15, 20)
    assert "sem_seg" not in mapped and (mapped["height"], mapped["width"]) == (30, 40)


def test_rgb_unless_told_otherwise(record):
    stored = np.asarray(Image.open(record["file_name"]))
    rgb = plain()(record)["image"]
    bgr = plain(image_format="BGR")(record)["image"]
    assert np.array_equal(rgb.numpy(), stored.transpose(2, 0, 1))
    assert torch.equal(bgr, rgb.flip(0))


def test_flip_moves_picture_and_labels_together(record):
    straight = plain()(record)
    flipped = SemanticDatasetMapper(True, augmentations=[T.RandomFlip(1.0)])(record)
    assert torch.equal(flipped["image"], straight["image"].flip(-1))
    assert torch.equal(flipped["sem_seg"], straight["sem_seg"].flip(-1))


def test_crop_and_padding(record):
    cfg = config(
        INPUT__CROP__ENABLED=True,
        INPUT__CROP__TYPE="absolute",
        INPUT__CROP__SIZE=(16, 20),
        INPUT__SIZE_DIVISIBILITY=24,
        INPUT__CROP__SINGLE_CATEGORY_MAX_AREA=0.75,
    )
    np.random.seed(0)
    mapped = build_mapper(cfg, is_train=True)(record)
    assert mapped["image"].shape == (3, 24, 24) and mapped["sem_seg"].shape == (24, 24)
    padding = mapped["padding_mask"]
    assert padding.sum() == 24 * 24 - 16 * 20 and not padding[:16, :20].any()
    assert (mapped["image"][:, padding] == 128).all()
    assert (mapped["sem_seg"][padding] == IGNORE).all()


def test_colours_change_the_picture_only(record):
    coloured = build_mapper(
        config(INPUT__COLOR_AUG_SSD=True, INPUT__RANDOM_FLIP="none"), is_train=True
    )
    same = build_mapper(config(INPUT__RANDOM_FLIP="none"), is_train=True)(record)
    random.seed(0)
    changed = [coloured(record) for _ in range(4)]  # each change is made with probability 1/2
    assert all(torch.equal(c["sem_seg"], same["sem_seg"]) for c in changed)
    assert not all(torch.equal(c["image"], same["image"]) for c in changed)


@pytest.mark.parametrize(
    ("unseen", "renumber", "expected"),
    [
        ("keep", False, {1: 1, 4: 4, 5: 5, IGNORE: IGNORE}),
        ("ignore", False, {1: IGNORE, 4: IGNORE, 5: 5}),
        ("mark", False, {1: UNSEEN, 4: UNSEEN, 2: 2, IGNORE: IGNORE}),
        ("mark", True, {0: 0, 1: UNSEEN, 2: 1, 3: 2, 4: UNSEEN, 5: 3, IGNORE: IGNORE}),
    ],
)
def test_unseen_classes(record, unseen, renumber, expected):
    truth = plain()(record)["sem_seg"]
    changes = {"DATASETS__UNSEEN_LABELS": unseen, "DATASETS__RENUMBER_SEEN": renumber}
    mapper = build_mapper(
        config(INPUT__MIN_SIZE_TRAIN=(0,), INPUT__RANDOM_FLIP="none", **changes), is_train=True
    )
    found = mapper(record)["sem_seg"]
    for before, after in expected.items():
        assert (found[truth == before] == after).all()


def test_unseen_needs_a_split(record):
    MetadataCatalog.get("mapper_test_plain").set(stuff_classes=["a", "b"], ignore_label=255)
    cfg = config(DATASETS__UNSEEN_LABELS="ignore")
    cfg.DATASETS.TRAIN = ("mapper_test_plain",)
    with pytest.raises(UserError, match="'mapper_test_plain' has no such split"):
        build_mapper(cfg, is_train=True)
    with pytest.raises(UserError, match="UNSEEN_LABELS: 'ignor' is unknown. Did you mean 'ignore'"):
        build_mapper(config(DATASETS__UNSEEN_LABELS="ignor"), is_train=True)


def test_kept_unseen_classes_cannot_be_told_from_renumbered_ones():
    with pytest.raises(UserError, match="RENUMBER_SEEN needs UNSEEN_LABELS ignore or mark"):
        build_mapper(config(DATASETS__RENUMBER_SEEN=True), is_train=True)


def test_the_dataset_states_its_ignore_value(record, tmp_path):
    name = "mapper_test_254"
    MetadataCatalog.get(name).set(stuff_classes=list("abcdef"), ignore_label=254)
    labels = np.asarray(Image.open(record["sem_seg_file_name"])).copy()
    labels[labels == 255] = 254
    Image.fromarray(labels).save(tmp_path / "other.png")
    other = {**record, "sem_seg_file_name": str(tmp_path / "other.png"), "dataset_name": name}
    assert torch.equal(plain()(other)["sem_seg"], plain()(record)["sem_seg"])
    cfg = config()
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 254
    with pytest.raises(UserError, match="IGNORE_VALUE is 254, .* stated by its dataset"):
        build_mapper(cfg, is_train=True)


def test_16_bit_labels_survive(root):
    truth = write_layout(root, "ade20k_847", "catseg")
    (record,) = dataset_dicts(["ade20k_847_val"])
    mapped = plain(size_divisibility=32)(record)
    assert np.array_equal(mapped["sem_seg"][:12, :16].numpy(), truth)
    assert (mapped["sem_seg"][mapped["padding_mask"]] == IGNORE).all()


def test_label_rule_is_applied(root):
    SOURCES["voc2012"](root)
    record = {r["image_id"]: r for r in dataset_dicts(["voc_20_val"])}["2007_000033"]
    assert plain()(record)["sem_seg"][0, ::4].tolist() == [IGNORE, 0, IGNORE, 19]


def test_exif_turns_the_picture(tmp_path, record):
    stored = np.asarray(Image.open(record["file_name"]))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    turned = {**record, "file_name": str(tmp_path / "turned.png")}
    assert np.array_equal(read_picture(turned["file_name"]), np.rot90(stored, -1))
    assert np.array_equal(read_picture(turned["file_name"], exif=False), stored)
    with pytest.raises(
        UserError, match="is 30 x 40 .* is 40 x 30; if an EXIF tag turns .*INPUT.EXIF"
    ):
        plain()(turned)
    assert plain(exif=False)(turned)["sem_seg"].shape == (30, 40)


@pytest.mark.parametrize("kind", ["RGBA", "16 bit"])
def test_training_sees_what_the_command_sees(record, tmp_path, kind):
    """One reader: transparency is laid on white, 16 bits become 8."""
    stored = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    deep = stored[..., 0].astype(np.uint16) * 257
    Image.fromarray(stored if kind == "RGBA" else deep).save(tmp_path / "a.png")
    found = plain()(record)["image"].numpy().transpose(1, 2, 0)
    assert np.array_equal(found, read_picture(tmp_path / "a.png"))


def test_broken_picture_is_named(record, tmp_path):
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a\.png: cannot be decoded as a picture"):
        plain()(record)


@pytest.mark.parametrize("is_train", [True, False])
def test_label_of_another_size(record, tmp_path, is_train):
    Image.new("L", (40, 29)).save(tmp_path / "a_label.png")
    mapper = SemanticDatasetMapper(is_train, augmentations=[])
    with pytest.raises(UserError, match=r"a_label\.png: is 29 x 40 .*a\.png is 30 x 40"):
        mapper(record)


def test_stated_size_must_be_true(record):
    with pytest.raises(UserError, match="but the annotation file says 31 x 40"):
        plain()({**record, "height": 31, "width": 40})


def test_label_out_of_range(record, tmp_path):
    Image.new("L", (40, 30), 6).save(tmp_path / "a_label.png")
    with pytest.raises(UserError, match=r"a_label\.png: label value 6 is outside 0\.\.5"):
        plain()(record)


def test_unknown_names():
    message = (
        "INPUT.MAPPER: 'SemanticDatasetMaper' is unknown. Did you mean 'SemanticDatasetMapper'"
    )
    with pytest.raises(UserError, match=message):
        build_mapper(config(INPUT__MAPPER="SemanticDatasetMaper"), is_train=True)


@pytest.mark.parametrize(
    ("longest", "size"), [(0, (51, 68)), (60, (45, 60)), (68, (51, 68)), (500, (51, 68))]
)
def test_mmsegs_resize_limits_the_long_side(record, longest, size):
    cfg = config()
    cfg.INPUT.TEST_MAPPER = "MMSegDatasetMapper"
    cfg.INPUT.MMSEG.SHORT_SIDE, cfg.INPUT.MMSEG.LONG_SIDE = 51, longest
    assert build_mapper(cfg, is_train=False)(record)["image"].shape == (3, *size)
