"""The configs of the paper's tables, and the figures beside them."""

import pytest
from detectron2.data import MetadataCatalog

from cliptrase.build import cliptrase_arguments
from cliptrase.methods.cliptrase import uses_cls_product
from ovs_core.data import dataset_dicts  # noqa: F401 - registers the datasets
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import list_configs
from ovs_core.methods.projects import config_dir
from ovs_core.reports.tables import find_table
from ovs_core.words.dataset_words import dataset_vocabulary

CONFIGS = [n.removeprefix("cliptrase/") for n in list_configs("cliptrase")]
LEAVES = [n for n in CONFIGS if not n.rpartition("/")[2].startswith("Base")]


@pytest.mark.parametrize("name", LEAVES)
def test_every_config_names_known_data_and_texts(name):
    cfg = load_cfg(config_dir("cliptrase") / f"{name}.yaml")
    node = cfg.MODEL.OVS
    for dataset in cfg.DATASETS.TEST:
        metadata = MetadataCatalog.get(dataset)
        words = dataset_vocabulary(
            metadata, name_field=node.NAME_FIELD, synonym_field=node.SYNONYM_FIELD
        )
        assert len(words) >= len(metadata.stuff_classes)


def test_background_words_replace_the_background_class():
    metadata = MetadataCatalog.get("voc_21_cliptrase_val")
    words = dataset_vocabulary(metadata)
    assert len(words) == 20 + 33
    assert words.background_index == list(range(20, 53))


def test_tables_2_6_and_7_have_published_figures():
    rows = find_table("cliptrase/336").choose(["ade150"]).rows
    assert [row.published["mIoU"] for row in rows] == [2.30, 14.76, 17.04]
    rows = {row.title: row for row in find_table("cliptrase/ablations").rows}
    assert rows["modules_scr"].published == {"mIoU": 15.79}
    with pytest.raises(UserError, match="Did you mean 'ade150'"):
        find_table("cliptrase/336").choose(["ade15"])


@pytest.mark.parametrize(
    ("protocol", "names", "expected"),
    [
        ("standalone", ("voc_20_val",), True),
        ("standalone", ("voc_21_cliptrase_val",), False),
        ("standalone", ("voc_20b_val",), False),
        ("d2", ("voc_21_val",), True),
        ("standalone", ("ade20k_150_val",), False),
        ("standalone", (), False),
    ],
)
def test_the_cls_product_is_for_voc20(protocol, names, expected):
    cfg = load_cfg(config_dir("cliptrase") / "vitb16.yaml")
    cfg.MODEL.CLIPTRASE.PROTOCOL = protocol
    cfg.DATASETS.TEST = names
    assert uses_cls_product(cfg) is expected


def test_the_cls_product_must_be_one_for_all_sets():
    cfg = load_cfg(config_dir("cliptrase") / "vitb16.yaml")
    cfg.DATASETS.TEST = ("voc_20_val", "ade20k_150_val")
    with pytest.raises(UserError, match="CLS_PRODUCT auto means another thing"):
        uses_cls_product(cfg)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["METHOD", "cliptrace"], "Did you mean 'cliptrase'"),
        (["PROTOCOL", "full"], "PROTOCOL: 'full' is unknown"),
        (["PROTOCOL", "ovs"], "labels pixels one by one"),
        (["METHOD", "sclip", "SCLIP.OWN_PROTOCOL", "True"], "OWN_PROTOCOL needs PROTOCOL ovs"),
        (["METHOD", "clip", "SAM.ENABLED", "True"], "takes its points from clusters"),
        (["CLUSTER.EPS", "-1.0"], "EPS is -1.0; it must be above 0"),
        (["MASK.MEDIAN", "4"], "MEDIAN odd"),
        (["CLUSTER.TARGET", "rows"], "CLUSTER.TARGET: 'rows' is unknown"),
        (["MASK_SOURCE", "dino"], "DINO.WEIGHTS is empty"),
        (["MASK_SOURCE", "dino", "DINO.MODEL", "vit_base_patch16_225.dino"], "timm has no ViT"),
    ],
)
def test_wrong_values_are_named(options, message):
    keys = [f"MODEL.CLIPTRASE.{o}" if i % 2 == 0 else o for i, o in enumerate(options)]
    with pytest.raises(UserError, match=message):
        cliptrase_arguments(load_cfg(config_dir("cliptrase") / "tiny.yaml", keys))
