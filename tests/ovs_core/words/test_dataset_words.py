"""Every config can name the classes of the data that it trains and tests on."""

import json
from pathlib import Path

import pytest

from ovs_core.data.build import dataset_metadata
from ovs_core.engine.config import load_cfg
from ovs_core.methods.configs import find_config, list_configs
from ovs_core.words.class_lists import load_class_list
from ovs_core.words.dataset_words import dataset_vocabulary

CATSEG_LISTS = Path(__file__).resolve().parents[2] / "data" / "catseg" / "class_lists.json"


def test_every_config_finds_the_words_of_its_datasets():
    wanted = set()
    for name in list_configs():
        cfg = load_cfg(find_config(name))
        fields = (cfg.MODEL.OVS.NAME_FIELD, cfg.MODEL.OVS.SYNONYM_FIELD)
        wanted |= {(d, *fields) for d in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)}
    assert len(wanted) > 40
    for dataset, name_field, synonym_field in sorted(wanted):
        metadata = dataset_metadata(dataset)
        words = dataset_vocabulary(metadata, name_field=name_field, synonym_field=synonym_field)
        assert len(words) >= len(metadata.get("stuff_classes") or metadata.thing_classes) - 1


@pytest.mark.parametrize(
    ("published", "ours"),
    [("coco", "coco_stuff_171"), ("ade150", "ade20k_150"), ("ade847", "ade20k_847"),
     ("pc59", "pascal_context_59"), ("pc459", "pascal_context_459"), ("voc20", "pascal_voc_20")],
)  # fmt: skip
def test_catseg_names_are_the_published_ones(published, ours):
    lists = json.loads(CATSEG_LISTS.read_text())
    assert load_class_list(ours).texts("catseg_name") == lists[published]


def test_a_class_without_synonyms_takes_its_one_text():
    words = dataset_vocabulary(
        dataset_metadata("voc_21_val"),
        name_field="clearclip_name",
        synonym_field="proxyclip_background",
    )
    assert words[0].synonyms[:3] == ("sky", "wall", "tree") and len(words[0].synonyms) == 26
    assert [words[i].synonyms for i in (4, 11, 15, 20)] == [
        ("ship",), ("table",), ("person",), ("tvmonitor",)
    ]  # fmt: skip
    assert len(words.texts) == 26 + 20
    single = dataset_vocabulary(dataset_metadata("voc_21_val"), name_field="clearclip_name")
    assert single.texts[:2] == ["background", "aeroplane"] and len(single.texts) == 21
    objects = dataset_vocabulary(
        dataset_metadata("coco_object_81_val"), synonym_field="proxyclip_background"
    )
    assert objects[0].synonyms[-1] == "rail" and len(objects.texts) == 17 + 80
