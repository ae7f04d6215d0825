"""The configs of the training-free methods say what their releases do."""

import pytest

from cliptrase.build import cliptrase_arguments
from cliptrase.tables import DATASETS
from ovs_core.data.build import dataset_metadata
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.words.dataset_words import dataset_vocabulary

METHODS = ("clearclip", "naclip", "proxyclip", "resclip")
BACKGROUND = ("voc21", "context60", "coco_object")
# temp_thd, (factor, share) of earlier attention, (factor, share) of the feedback
RESCLIP = {
    "voc21": (0.50, [2.0, 0.3], [2.2, 0.7]),
    "context60": (0.30, [2.0, 0.3], [1.8, 0.7]),
    "coco_object": (0.11, [2.0, 0.4], [1.8, 0.7]),
    "voc20": (0.10, [2.0, 0.6], [2.1, 0.6]),
    "cityscapes": (0.10, [2.0, 0.2], [2.1, 0.6]),
    "context59": (0.25, [2.0, 0.4], [1.8, 0.7]),
    "ade150": (0.25, [2.0, 0.3], [2.1, 0.7]),
    "coco_stuff": (0.11, [2.0, 0.4], [1.8, 0.7]),
}
# dataset -> how many texts are encoded
ONE_EACH = {"context60": 60, "cityscapes": 19, "context59": 59, "ade150": 150, "coco_stuff": 171}
TEXTS = {
    "clearclip": {"voc21": 21, "coco_object": 81, "voc20": 20},
    "naclip": {"voc21": 26 + 30, "coco_object": 26 + 87, "voc20": 30},
    "proxyclip": {"voc21": 26 + 20, "coco_object": 17 + 80, "voc20": 20},
    "resclip": {"voc21": 26 + 30, "coco_object": 26 + 87, "voc20": 30},
}


def short_side(method, data):
    if method == "clearclip":
        return 448
    if method == "proxyclip":
        return 448 if data in ("ade150", "cityscapes") else 336
    return 560 if data == "cityscapes" else 336


def window(method, data):
    if method == "clearclip":
        return (224, 224) if data == "cityscapes" else (448, 224)
    if method == "proxyclip":
        return (224, 112) if data == "cityscapes" else (336, 112)
    return (2048, 2048) if data in ("voc20", "voc21") else (224, 112)


def threshold(method, data):
    if data not in BACKGROUND:
        return 0.0
    own = {"clearclip": (0.5, 0.15, 0.4), "proxyclip": (0.2, 0.15, 0.25)}
    return own.get(method, (0.1, 0.1, 0.1))[BACKGROUND.index(data)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tower", ["", "_vitl14"])
def test_protocols(method, tower):
    for data in DATASETS:
        cfg = load_cfg(find_config(f"cliptrase/{method}/{data}{tower}"))
        node, ovs, last = cfg.MODEL.CLIPTRASE, cfg.MODEL.OVS, cfg.MODEL.CLIPTRASE.LAST_STEPS
        large = cfg.MODEL.CLIP.ARCHITECTURE == "ViT-L-14-quickgelu"
        assert large == bool(tower) and cfg.MODEL.CLIP.PRETRAINED == "openai"
        assert (node.METHOD, node.PROTOCOL, node.POSITION_SAME_COUNT) == (method, "ovs", True)
        assert cfg.INPUT.TEST_MAPPER == "MMSegDatasetMapper"
        assert cfg.INPUT.MMSEG.SHORT_SIDE == short_side(method, data)
        assert cfg.INPUT.MMSEG.LONG_SIDE == 2048
        assert (ovs.PROTOCOL.WINDOW, ovs.PROTOCOL.STRIDE) == window(method, data)
        assert ovs.PROTOCOL.NAME == "slide" and not ovs.PROTOCOL.PAD_SMALL
        padding = {"clearclip": 14 if large else 16, "proxyclip": 56}.get(method, 1)
        assert ovs.PROTOCOL.PAD_MULTIPLE == padding
        assert list(ovs.TEMPLATES) == ["imagenet_80"]
        assert last.ENABLED and last.SCALE == (50 if method == "clearclip" else 40)
        assert last.PROB_THD == threshold(method, data) and last.AREA_THD < 0
        assert last.RENORMALIZE == (method in ("naclip", "resclip"))
        assert last.PAMR_STEPS == (10 if method == "naclip" else 0)
        assert last.PAMR_DILATIONS == [8, 16]
        if method == "resclip":
            own = node.RESCLIP
            assert (own.TEMP_THD, own.RCS_WEIGHTS, own.SFR_WEIGHTS) == RESCLIP[data]
            assert (own.BASE, own.STD, own.LAYERS) == ("resclip", 5.0, [5, 6, 7, 8])
            assert own.RCS and own.SFR and own.DECAY
        (name,) = cfg.DATASETS.TEST
        words = dataset_vocabulary(
            dataset_metadata(name), name_field=ovs.NAME_FIELD, synonym_field=ovs.SYNONYM_FIELD
        )
        assert len(words.texts) == {**ONE_EACH, **TEXTS[method]}[data]


def test_proxyclip_asks_for_its_network():
    cfg = load_cfg(find_config("cliptrase/proxyclip/voc21"))
    assert (cfg.MODEL.CLIPTRASE.PROXYCLIP.BETA, cfg.MODEL.CLIPTRASE.PROXYCLIP.GAMMA) == (1.2, 3.0)
    tiny = load_cfg(find_config("cliptrase/tiny_proxyclip"))
    tiny.MODEL.CLIPTRASE.PROXYCLIP.WEIGHTS = ""
    with pytest.raises(UserError, match="MODEL.CLIPTRASE.PROXYCLIP.WEIGHTS is empty; give the pa"):
        cliptrase_arguments(tiny)
