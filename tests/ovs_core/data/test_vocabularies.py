"""The class lists are complete and agree with each other."""

import hashlib
import json

import pytest

from ovs_core.data.build import dataset_metadata
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.words.class_lists import (
    FOLDER,
    class_list_names,
    load_background_words,
    load_class_list,
    load_split,
    load_templates,
    voc_color,
)
from ovs_core.words.dataset_words import dataset_vocabulary

SIZES = {
    "coco_stuff_171": 171, "coco_object_81": 81, "coco_object_81_last": 81, "coco_27": 27,
    "coco_panoptic_133": 133, "coco_detection_80": 80, "ade20k_150": 150, "ade20k_847": 847,
    "pascal_voc_20": 20, "pascal_voc_20b": 21, "pascal_voc_21": 21, "pascal_context_59": 59,
    "pascal_context_60": 60, "pascal_context_60_last": 60, "pascal_context_459": 459,
    "cityscapes_19": 19, "cityscapes_27": 27, "mapillary_vistas_65": 65,
}  # fmt: skip
FCCLIP_TEXTS = {
    "coco_stuff_171": 328, "coco_panoptic_133": 254, "ade20k_150": 403, "ade20k_847": 1342,
    "pascal_context_59": 160, "pascal_context_459": 559, "pascal_voc_20": 79,
}  # fmt: skip


def test_every_list_is_known():
    assert set(class_list_names()) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_names_and_colors(name):
    classes = load_class_list(name)
    assert len(classes) == SIZES[name] == len(set(classes.names)) == len(classes.colors)
    assert all(len(c) == 3 and all(0 <= v <= 255 for v in c) for c in classes.colors)


@pytest.mark.parametrize("name", FCCLIP_TEXTS)
def test_synonym_counts(name):
    assert sum(map(len, load_class_list(name).synonyms("fcclip_synonyms"))) == FCCLIP_TEXTS[name]


@pytest.mark.parametrize(
    ("name", "seen", "unseen"),
    [("pascal_voc_20", 15, 5), ("coco_stuff_171", 156, 15), ("pascal_context_59", 49, 10),
     ("pascal_context_60", 50, 10), ("pascal_voc_21", 16, 5), ("coco_detection_80", 48, 17),
     ("pascal_voc_20/novel_10", 10, 10)],
)  # fmt: skip
def test_splits(name, seen, unseen):
    split = load_split(name)
    assert (len(split.seen), len(split.unseen)) == (seen, unseen)
    assert not set(split.seen) & set(split.unseen)


def test_split_indices():
    assert load_split("pascal_voc_20").unseen == (15, 16, 17, 18, 19)
    expected = (19, 23, 28, 29, 36, 51, 76, 88, 94, 112, 133, 136, 137, 157, 160)
    assert load_split("coco_stuff_171").unseen == expected
    assert load_split("pascal_context_60").unseen == (1, 7, 8, 15, 20, 25, 32, 34, 49, 55)
    assert load_split("ade20k_150") is None
    assert load_split("coco_object_81") is None


def test_coco_lists_agree():
    stuff, groups = load_class_list("coco_stuff_171"), load_class_list("coco_27")
    assert stuff.things == list(range(80))
    assert [c["raw_pixel"] + 1 for c in stuff.classes] == [c["category_id"] for c in stuff.classes]
    gaps = set(range(182)) - set(stuff.ids("raw_pixel"))
    assert gaps == {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
    assert sorted(m for c in groups.classes for m in c["members"]) == list(range(171))
    assert all(i in groups.classes[c["coco27"]]["members"] for i, c in enumerate(stuff.classes))
    things = load_class_list("coco_object_81")
    assert things.background == 0 and things.names[1:] == stuff.names[:80]
    assert load_class_list("coco_object_81_last").background == 80
    panoptic = load_class_list("coco_panoptic_133")
    ids = [c["category_id"] for c in stuff.classes if c["isthing"]]
    assert [c["category_id"] for c in panoptic.classes if c["isthing"]] == ids


def test_context_and_ade_facts():
    short, full = load_class_list("pascal_context_59"), load_class_list("pascal_context_459")
    assert sum(not c["in_val_gt"] for c in full.classes) == 114
    differ = [i for i, c in enumerate(short.classes)
              if full.names[c["raw_459_id"] - 1].replace(" ", "") != c["name"]]  # fmt: skip
    assert differ == [49]
    ade = load_class_list("ade20k_150")
    assert sorted(ade.ids("instance_id")) == list(range(1, 101)) and len(ade.things) == 100
    firsts = [s[0] for s in load_class_list("ade20k_847").synonyms("synonyms")]
    assert len(set(firsts)) == 847 - 10


def test_background_words_and_templates():
    words = load_class_list("pascal_voc_21").synonyms("fcclip_synonyms")[0]
    assert words == load_background_words("fcclip_voc21") and words[0] == "background"
    voc20b = load_class_list("pascal_voc_20").names + load_background_words("catseg_voc20b")
    assert set(voc20b) == set(load_class_list("pascal_context_59").names)


# Lists of prompts: how many, and the digest of their lines.
PROMPTS = {
    "zegclip_single": (1, "a49db5fdb0eb4888"),
    "catseg_single": (1, "4b59e253afc4e496"),
    "vild_14": (14, "20c81c13267c6b93"),
    "imagenet_80": (80, "4f976686fb651bb5"),
    "zegclip_15": (15, "cbde80760ccc7fcc"),
    "scene_5": (5, "8a881bfd539106db"),
    "catseg_imagenet_select_8": (8, "ddace8bbaffbdfc4"),
}


def test_every_list_of_prompts_is_held():
    stored = json.loads((FOLDER / "templates.json").read_text(encoding="utf-8"))
    assert stored.keys() == PROMPTS.keys()
    for name, held in PROMPTS.items():
        templates = load_templates(name)
        digest = hashlib.sha256("\n".join(templates).encode()).hexdigest()[:16]
        assert (len(set(templates)), digest) == held, name
        assert all(t.count("{}") == 1 for t in templates)


def test_the_classes_of_coco_27_have_the_names_of_their_members():
    cfg = load_cfg(find_config("cliptrase/unsupervised/coco27"))
    metadata = dataset_metadata(cfg.DATASETS.TEST[0])
    words = dataset_vocabulary(metadata, synonym_field=cfg.MODEL.OVS.SYNONYM_FIELD)
    assert len(words) == 27 and len(words.texts) == 171
    assert words.texts[:3] == ["tv", "laptop", "mouse"]


def test_voc_colors():
    assert [voc_color(i) for i in (0, 1, 15, 20)] == [
        [0, 0, 0], [128, 0, 0], [192, 128, 128], [0, 64, 128]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "hint"),
    [(lambda: load_class_list("coco_stuff_172"), "coco_stuff_171"),
     (lambda: load_templates("imagenet_8"), "imagenet_80"),
     (lambda: load_background_words("sclip_voc2"), "sclip_voc21"),
     (lambda: load_class_list("ade20k_150").texts("catseg_nam"), "catseg_name")],
)  # fmt: skip
def test_unknown_names_get_a_hint(call, hint):
    with pytest.raises(UserError, match=f"Did you mean '{hint}'"):
        call()
