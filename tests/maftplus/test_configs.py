"""Every config loads; the tiny ones build, train one step and segment."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances

from ovs_core.clip.architectures import model_config
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.data.build import dataset_metadata
from ovs_core.engine.config import load_cfg
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.engine.trainer import set_test_words, set_training_words
from ovs_core.errors import UserError
from ovs_core.modeling.mask2former import mask_pool
from ovs_core.words.dataset_words import dataset_vocabulary

CONFIGS = Path(__file__).resolve().parents[2] / "projects" / "maftplus" / "configs"
ALL = sorted(CONFIGS.rglob("*.yaml"))
TINY = sorted(CONFIGS.glob("tiny*.yaml"))  # MAFT's: test_maft.py
UNTRAINED = ["MODEL.CLIP.PRETRAINED", "random", "MODEL.DEVICE", "cpu"]


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_config_loads(path):
    cfg = load_cfg(path)
    assert cfg.MODEL.META_ARCHITECTURE in ("FCCLIP", "MAFT", "MAFTPlus", "MAFTProposals")
    assert cfg.DATASETS.TRAIN and cfg.DATASETS.TEST


@pytest.mark.parametrize("path", TINY, ids=lambda p: p.stem)
def test_tiny_config_trains_and_segments(path):
    torch.manual_seed(0)
    cfg = load_cfg(path, UNTRAINED)
    model = build_model(cfg)
    set_training_words(cfg, model)
    optimizer = build_optimizer(cfg, model)
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 128, 128), np.uint8))
    instances = Instances((128, 128))
    instances.gt_classes = torch.tensor([3, 21])
    instances.gt_masks = BitMasks(torch.rand(2, 128, 128) > 0.5)
    losses = model.train()([{"image": picture, "instances": instances}])
    sum(losses.values()).backward()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n, p in model.named_parameters() if p.grad is not None} == trained
    optimizer.step()
    set_test_words(cfg, model, cfg.DATASETS.TEST[0])
    out = model.eval()([{"image": picture, "height": 100, "width": 90}])[0]
    assert out["sem_seg_labels"].shape == (100, 90)
    assert ("panoptic_seg" in out) == cfg.MODEL.MASK_FORMER.TEST.PANOPTIC_ON
    assert sum(model.things()) == (20 if "panoptic" in cfg.DATASETS.TEST[0] else 28)


def test_sliding_windows_are_refused():
    cfg = load_cfg(CONFIGS / "tiny.yaml", [*UNTRAINED, "MODEL.OVS.PROTOCOL.NAME", "slide"])
    with pytest.raises(UserError, match="whole picture"):
        build_model(cfg)


def test_a_vit_is_refused():
    options = [*UNTRAINED, "MODEL.CLIP.ARCHITECTURE", "embedded-vit"]
    with pytest.raises(UserError, match="convolutional"):
        build_model(load_cfg(CONFIGS / "tiny.yaml", options))


def test_widths_that_do_not_fit_are_refused():
    options = [*UNTRAINED, "MODEL.SEM_SEG_HEAD.MASK_DIM", "96"]
    with pytest.raises(UserError, match="MASK_DIM"):
        build_model(load_cfg(CONFIGS / "tiny.yaml", options))


def test_evaluation_needs_the_training_words():
    options = [*UNTRAINED, "DATASETS.TRAIN", "()"]
    with pytest.raises(UserError, match="words that the weights were trained with"):
        build_model(load_cfg(CONFIGS / "tiny.yaml", options))


@pytest.mark.parametrize(
    ("dataset", "texts", "things"),
    [
        ("coco_stuff_171_train", 328, None), ("coco_133_panoptic_train", 254, 80),
        ("ade20k_150_panoptic_val", 403, 100), ("ade20k_847_val", 1342, None),
        ("context_59_val", 160, None), ("context_459_val", 559, None), ("voc_20_val", 79, None),
        ("voc_21_val", None, None), ("cityscapes_19_panoptic_val", None, 8),
        ("mapillary_65_panoptic_val", None, 37),
    ],
)  # fmt: skip
def test_every_test_set_has_the_published_synonyms(dataset, texts, things):
    words = dataset_vocabulary(dataset_metadata(dataset), synonym_field="fcclip_synonyms")
    assert words.has_synonyms
    assert texts is None or len(words.texts) == texts
    assert things is None or sum(entry.is_thing for entry in words) == things


@pytest.mark.parametrize(
    ("config", "widths", "dim"),
    [
        ("fcclip_convnext_base", (128, 256, 512, 1024), 640),
        ("fcclip_convnext_large", (192, 384, 768, 1536), 768),
        ("fcclip_convnext_xxlarge", (384, 768, 1536, 3072), 1024),
        ("fcclip_rn50", (256, 512, 1024, 2048), 1024),
        ("fcclip_rn101", (256, 512, 1024, 2048), 512),
        ("fcclip_rn50x4", (320, 640, 1280, 2560), 640),
        ("fcclip_rn50x16", (384, 768, 1536, 3072), 768),
        ("fcclip_rn50x64", (512, 1024, 2048, 4096), 1024),
    ],
)
def test_towers_of_published_size(config, widths, dim):
    """Shapes only: nothing is computed and no weights are held."""
    clip = model_config(load_cfg(CONFIGS / f"{config}.yaml").MODEL.CLIP.ARCHITECTURE)
    tower = {k: clip[k] for k in ("embed_dim", "vision_cfg", "text_cfg")}
    with torch.device("meta"):
        encoder = ConvEncoder(open_clip.CLIP(**tower).visual)
        found = encoder(torch.zeros(1, 3, 64, 96))
        masks = torch.zeros(1, 5, 2, 3)
        embedded = encoder.embed_masks(found["dense"], masks, mask_pool)
    assert tuple(encoder.channels.values()) == widths
    for level, width in enumerate(widths):
        side = 16 >> level, 24 >> level
        assert found[f"res{level + 2}"].shape == (1, width, *side)
    assert found["dense"].shape == (1, widths[-1], 2, 3)
    assert embedded.shape == (1, 5, dim)


@pytest.mark.parametrize("size", ["rn50", "rn101", "rn50x4", "rn50x16", "rn50x64"])
@pytest.mark.parametrize("other", ["cityscapes", "coco"])
def test_a_resnet_meets_the_sets_of_the_convnext(size, other):
    base = load_cfg(CONFIGS / f"fcclip_{size}.yaml")
    wanted = load_cfg(CONFIGS / f"fcclip_convnext_large_{other}.yaml")
    cfg = load_cfg(CONFIGS / f"fcclip_{size}_{other}.yaml")
    base.DATASETS.TEST, base.CONFIG_FILE = wanted.DATASETS.TEST, cfg.CONFIG_FILE
    base.INPUT.MIN_SIZE_TEST, base.INPUT.MAX_SIZE_TEST = (
        wanted.INPUT.MIN_SIZE_TEST, wanted.INPUT.MAX_SIZE_TEST,
    )  # fmt: skip
    assert cfg == base
