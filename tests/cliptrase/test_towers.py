"""Which training-free method takes which tower; the table of the README is what is found."""

import re

import pytest
import torch

from cliptrase.methods.registry import method_names
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.errors import UserError
from ovs_core.methods.projects import config_dir
from ovs_core.modeling import build
from tests.miniatures.towers import FAMILIES, family_clip

PROJECT = config_dir("cliptrase").parent
OPTIONS = [
    "MODEL.DEVICE", "cpu", "MODEL.CLIPTRASE.IMAGE_SIZE", "42",
    "MODEL.CLIPTRASE.PROXYCLIP.MODEL", "test_vit", "MODEL.CLIPTRASE.PROXYCLIP.WEIGHTS", "random",
    "MODEL.CLIPTRASE.RESCLIP.LAYERS", "[0, 1]", "MODEL.CLIPTRASE.MASKCLIP.KS_THRESH", "0.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {family: family_clip(family, folder) for family in FAMILIES}


def model_of(method, clip, monkeypatch, *options):
    monkeypatch.setattr(build, "load_clip", lambda *_, **__: clip)
    cfg = load_cfg(
        config_dir("cliptrase") / "tiny.yaml",
        ["MODEL.CLIPTRASE.METHOD", method, *OPTIONS, *options],
    )
    model = build_segmenter(cfg)
    model.text_embedder.folder = None
    return model


def takes(method, clip, monkeypatch):
    """Whether a method labels a picture with a tower; a refusal is one line that names the mend."""
    try:
        model = model_of(method, clip, monkeypatch)
    except UserError as error:
        assert "choose another MODEL.CLIP.ARCHITECTURE" in str(error) and "\n" not in str(error)
        return False
    model.set_vocabulary("cat, dog, sky")
    picture = torch.rand(3, 40, 57, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        labels = model.postprocess(model.segment_input({"image": picture}))["sem_seg_labels"]
        (images,) = model.encoder_inputs(picture)
        patches = model.encode(images).patches
        assert model.bare_forward(images) is not None
    assert labels.shape == (40, 57) and patches.isfinite().all()
    return True


def stated():
    """Family -> method -> whether the README says that it takes it."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    table = text.split("## Towers")[1].split("\n## ")[0]
    lines = [line.strip("| ") for line in table.splitlines() if line.startswith("|")]
    head, _, *rows = [re.split(r"\s*\|\s*", line) for line in lines]
    methods = [name.strip("`") for name in head[1:]]
    return {row[0]: dict(zip(methods, row[1:], strict=True)) for row in rows}


def test_the_table_of_towers_is_what_is_found(clips, monkeypatch):
    found = {
        family: {m: "yes" if takes(m, clip, monkeypatch) else "no" for m in method_names()}
        for family, clip in clips.items()
    }
    assert stated() == found


def test_without_clusters_cliptrase_needs_no_cls(clips, monkeypatch):
    clip = clips["SigLIP, SigLIP2"]
    model = model_of("cliptrase", clip, monkeypatch, "MODEL.CLIPTRASE.CLUSTER.ENABLED", "False")
    model.set_vocabulary("cat, dog")
    assert model.segment_input({"image": torch.zeros(3, 32, 32)}).labels().shape == (32, 32)
    with pytest.raises(UserError, match="picture feature is its CLS token.* pools by map"):
        model_of("cliptrase", clip, monkeypatch, "MODEL.CLIPTRASE.CLUSTER.ENABLED", "False",
                 "MODEL.CLIPTRASE.CLS_PRODUCT", "on")  # fmt: skip


@pytest.mark.parametrize("method", ["clip", "sclip", "naclip", "resclip"])
def test_patches_know_nothing_of_a_token_that_is_not_there(clips, monkeypatch, method):
    """A tower without CLS gives a feature per patch, the same alone and in a batch."""
    model = model_of(method, clips["SigLIP, SigLIP2"], monkeypatch)
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        dense = model.encode(images)
        assert not dense.has_cls and dense.tokens.shape[1] == 24 == dense.patches.shape[1]
        torch.testing.assert_close(model.encode(images[1:]).tokens, dense.tokens[1:])
