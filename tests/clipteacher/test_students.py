"""Students: the last convolution, widths, wrong outputs, published layouts."""

import re

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from clipteacher.build import build_student
from clipteacher.inference import class_logits
from clipteacher.students import Student, families
from clipteacher.students.hamburger import LightHamburgerHead
from ovs_core.clip import load_clip
from ovs_core.errors import UserError
from ovs_core.methods.published_lists import read_statements


def network(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), *layers)


class Twice(nn.Module):
    """One convolution for two maps."""

    def __init__(self):
        super().__init__()
        self.body, self.last = network(), nn.Conv2d(6, 8, 1)

    def forward(self, images):
        self.last(self.body(images[..., ::2]))
        return self.last(self.body(images))


class Resized(nn.Module):
    """Something comes behind the convolution."""

    def __init__(self):
        super().__init__()
        self.body = network(nn.Conv2d(6, 8, 1))

    def forward(self, images):
        return self.body(images).relu()


@pytest.mark.parametrize(
    "given, taken",
    [
        (network(nn.Conv2d(6, 8, 1)), True),
        (network(nn.Dropout2d(), nn.Conv2d(6, 8, 1, bias=False)), True),
        (network(nn.Conv2d(6, 8, 3, padding=1)), False),
        (network(nn.Conv2d(6, 8, 1, groups=2)), False),
        (network(nn.Conv2d(6, 8, 1), nn.Dropout2d()), False),
        (nn.Conv2d(3, 8, 1), False),
        (Twice(), False),
        (Resized(), False),
    ],
)
def test_a_closing_convolution_is_folded_into_the_words(given, taken):
    draw = torch.Generator().manual_seed(1)
    images, text = torch.randn(2, 3, 16, 12, generator=draw), torch.randn(5, 8, generator=draw)
    expected = given.eval()(images)
    student = Student(given, 8).eval()
    assert isinstance(student.projection, nn.Conv2d) == taken
    torch.testing.assert_close(student(images), expected)
    folded = class_logits(student.features(images), text, student.projection)
    plain = class_logits(student(images), text)
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=1e-5)
    assert student.features(images).shape[1] == (6 if taken else 8)


def test_width_is_projected_and_said(caplog):
    with caplog.at_level("INFO"):
        student = Student(nn.Conv2d(3, 5, 1), 8)
    assert student(torch.zeros(1, 3, 4, 4)).shape == (1, 8, 4, 4)
    assert "gives 5 channels, the text features have 8" in caplog.text


class Wrapped(nn.Module):
    """Gives its map in a list or dict."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, images):
        return self.kind([("out", images)])


@pytest.mark.parametrize(
    "given, got",
    [(nn.Flatten(), r"\(1, 12288\)"), (Wrapped(list), "list"), (Wrapped(dict), "dict")],
)
def test_wrong_rank_of_a_student(given, got):
    with pytest.raises(UserError, match=f"one map .*but gave {got}"):
        Student(given, 8)


@pytest.fixture
def build(tiny_cfg):
    def make(name, *options, dim=512):
        node = "MODEL.CLIPTEACHER.STUDENT"
        cfg = tiny_cfg(f"{node}.HEAD_WIDTH", "0", f"{node}.NAME", name, *options)
        return build_student(cfg, dim)

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, parameters",
    [
        ("segformer_b0", 3_846_752),  # of mmsegmentation's head, as is B4's
        ("segformer_b4", 61_501_120),
        ("segnext_t", 4_356_448),
        ("segnext_b", 27_822_016),
        ("segnext_l", 49_297_600),
        ("swin_b", 120_246_712),  # without the last norm of 2048, which no map uses
        ("convnext_b", 121_069_952),
    ],
)
def test_sizes_are_the_published_ones(build, name, parameters):
    assert sum(p.numel() for p in build(name).parameters()) == parameters


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["segformer_b0", "segformer_b1", "segnext_t", "segnext_s", "swin_t", "convnext_t"]
)
def test_students_give_the_text_width_and_train_every_tensor(build, name):
    student = build(name, "MODEL.CLIPTEACHER.STUDENT.HEAD_WIDTH", "64")
    stride = 8 if name.startswith("segnext") else 4
    features = student(torch.randn(2, 3, 64, 96))
    assert features.shape == (2, 512, 64 // stride, 96 // stride)
    assert isinstance(student.projection, nn.Conv2d)
    features.square().mean().backward()
    untrained = [n for n, p in student.named_parameters() if p.grad is None]
    assert untrained == []  # distributed training would stop


def test_the_hamburger_may_have_a_width_of_its_own():
    head = LightHamburgerHead([8, 16, 24], 32, 20, groups=8, ham_channels=48)
    shapes = {name: tuple(p.shape[:2]) for name, p in head.named_parameters() if p.ndim == 4}
    assert (48, 48) in shapes.values() and (32, 48) in shapes.values()
    assert next(iter(p for n, p in head.named_parameters() if n.startswith("squeeze"))).shape[
        :2
    ] == (48, 48)
    maps = [torch.randn(1, c, s, s) for c, s in ((8, 16), (16, 8), (24, 4))]
    assert head(maps).shape == (1, 20, 16, 16)


def test_a_width_that_no_group_norm_divides_is_refused(build):
    with pytest.raises(UserError, match=r"HAM_WIDTH 40: SegNeXt"):
        build("segnext_t", "MODEL.CLIPTEACHER.STUDENT.HAM_WIDTH", "40")


def encoder_state(student):
    state = student.network.encoder.state_dict()
    return {name.removeprefix("model."): value for name, value in state.items()}


def mmseg_mit(hub):
    """The hub's names turned back into mmsegmentation's."""
    renamed = {}
    rules = [
        (r"encoder\.patch_embeddings\.(\d)\.proj\.", r"layers.\1.0.projection."),
        (r"encoder\.patch_embeddings\.(\d)\.layer_norm\.", r"layers.\1.0.norm."),
        (r"encoder\.layer_norm\.(\d)\.", r"layers.\1.2."),
        (r"encoder\.block\.(\d)\.(\d+)\.", r"layers.\1.1.\2."),
        (r"attention\.self\.sr\.", "attn.sr."),
        (r"attention\.self\.layer_norm\.", "attn.norm."),
        (r"layer_norm_(\d)\.", r"norm\1."),
        (r"attention\.output\.dense\.", "attn.attn.out_proj."),
        (r"mlp\.dense1\.", "ffn.layers.0."),
        (r"mlp\.dwconv\.dwconv\.", "ffn.layers.1."),
        (r"mlp\.dense2\.", "ffn.layers.4."),
    ]
    for name, tensor in hub.items():
        if ".self.key." in name or ".self.value." in name:
            continue
        if ".self.query." in name:
            parts = [hub[name.replace("query", part)] for part in ("query", "key", "value")]
            name, kind = name.rsplit(".", 1)
            name = name.replace("attention.self.query", "attn.attn.in_proj_") + kind
            tensor = torch.cat(parts)
        if ".mlp.dense" in name and name.endswith("weight"):
            tensor = tensor[..., None, None]
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        renamed[name] = tensor
    return {"state_dict": renamed, "meta": {}}


def test_segformer_weights_in_the_forms_of_hub_and_mmsegmentation(build, tmp_path):
    transformers = pytest.importorskip("transformers")
    key = "MODEL.CLIPTEACHER.STUDENT.WEIGHTS"
    original = build("segformer_b0")
    config = original.network.encoder.model.config
    whole = transformers.SegformerForImageClassification(config)
    whole.base_model.load_state_dict(original.network.encoder.model.state_dict())
    whole.save_pretrained(tmp_path / "folder")
    file = tmp_path / "folder" / "model.safetensors"
    hub = {k.removeprefix("segformer."): v for k, v in load_file(file).items()}
    assert any(name.startswith("encoder.block.0.0.attention.self.query") for name in hub)
    torch.save(
        mmseg_mit({k: v for k, v in hub.items() if "classifier" not in k}), tmp_path / "mmseg.pth"
    )
    for path in (tmp_path / "folder", file, tmp_path / "mmseg.pth"):
        loaded = encoder_state(build("segformer_b0", key, str(path)))
        for name, value in encoder_state(original).items():
            assert torch.equal(loaded[name], value), (path.name, name)
    with pytest.raises(UserError, match="does not fit this student's encoder"):
        build("segformer_b1", key, str(file))
    with pytest.raises(UserError, match="cannot read '/no/such'"):
        build("segformer_b0", key, "/no/such")


def microsoft_swin(timm_state):
    """Names of the authors: downsampling belongs to the stage in front of it."""

    def rename(name):
        moved = re.sub(
            r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name
        )
        return moved.replace("head.fc.", "head.")

    renamed = {rename(name): value for name, value in timm_state.items()}
    return {"model": {**renamed, "layers.0.blocks.0.attn.relative_position_index": torch.ones(1)}}


def facebook_convnext(timm_state):
    """Names of the authors."""
    rules = [
        (r"^stem\.", "downsample_layers.0."),
        (r"stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"stages\.(\d)\.blocks\.(\d+)\.", r"stages.\1.\2."),
        ("conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"head\.norm", "norm"),
        (r"head\.fc", "head"),
    ]
    renamed = {}
    for name, value in timm_state.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        renamed[name] = value
    return {"model": renamed}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, model, authors",
    [
        ("swin_t", "swin_tiny_patch4_window7_224.ms_in1k", microsoft_swin),
        ("convnext_t", "convnext_tiny.fb_in1k", facebook_convnext),
    ],
)
def test_timm_and_authors_files(build, tmp_path, name, model, authors):
    key, flat = "MODEL.CLIPTEACHER.STUDENT.WEIGHTS", re.compile(r"^(stages|layers|stem)\.")
    whole = timm.create_model(model).state_dict()
    save_file(whole, tmp_path / "timm.safetensors")
    torch.save(authors(whole), tmp_path / "authors.pth")
    for path in (tmp_path / "timm.safetensors", tmp_path / "authors.pth"):
        loaded = encoder_state(build(name, key, str(path)))
        expected = {flat.sub(r"\1_", k): v for k, v in whole.items() if not k.startswith("head")}
        shared = loaded.keys() & expected.keys()
        assert len(shared) >= len(loaded) - 8  # four stage norms are fresh
        assert all(torch.equal(loaded[k], expected[k]) for k in shared)
    with pytest.raises(UserError, match="does not fit this student's encoder"):
        build(name.replace("_t", "_s"), key, str(path))


def test_segnext_file(build, tmp_path):
    key = "MODEL.CLIPTEACHER.STUDENT.WEIGHTS"
    state = encoder_state(build("segnext_t"))
    head = {"head.weight": torch.zeros(1000, 256)}
    torch.save({"state_dict": {**state, **head}}, tmp_path / "mscan_t.pth")
    loaded = encoder_state(build("segnext_t", key, str(tmp_path / "mscan_t.pth")))
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    with pytest.raises(UserError, match="does not fit this student's encoder"):
        build("segnext_s", key, str(tmp_path / "mscan_t.pth"))
    with pytest.raises(UserError, match="no such checkpoint"):
        build("segnext_t", key, str(tmp_path / "none.pth"))


@pytest.mark.parametrize("name", ["segformer_b0", "segnext_t", "swin_t", "convnext_t"])
def test_published_weights_that_cannot_be_fetched(build, name, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setenv("OVS_WEIGHTS", str(tmp_path))
    for module in ("clipteacher.students.published", "ovs_core.clip.fetching"):
        monkeypatch.setattr(f"{module}.why_unreachable", lambda url: "")  # so that it is tried
    monkeypatch.setattr("clipteacher.students.backbones.timm.create_model", fail)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    if name.startswith("segformer"):
        transformers = pytest.importorskip("transformers")
        monkeypatch.setattr(transformers.SegformerModel, "from_pretrained", fail)
    with pytest.raises(UserError, match="no route to host.*give a local file or folder"):
        build(name, "MODEL.CLIPTEACHER.STUDENT.WEIGHTS", "imagenet")


@pytest.mark.parametrize("name", ["segformer_b0", "segnext_t", "swin_t", "convnext_t"])
def test_published_weights_are_not_waited_for(build, name, monkeypatch, tmp_path):
    """Where there is no network, what is to be brought where is said at once."""
    monkeypatch.setenv("OVS_WEIGHTS", str(tmp_path))
    for module in ("clipteacher.students.published", "ovs_core.clip.fetching"):
        monkeypatch.setattr(f"{module}.why_unreachable", lambda url: "hub cannot be reached")
        monkeypatch.setattr(f"{module}.try_to_load_from_cache", lambda *names: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    with pytest.raises(
        UserError, match=rf"hub cannot be reached.* {tmp_path}/(nvidia|openmmlab|timm)/"
    ):
        build(name, "MODEL.CLIPTEACHER.STUDENT.WEIGHTS", "imagenet")


def test_published_weights_are_taken_from_the_weights_folder(build, tmp_path, monkeypatch):
    monkeypatch.setenv("OVS_WEIGHTS", str(tmp_path))
    key = "MODEL.CLIPTEACHER.STUDENT.WEIGHTS"
    (tmp_path / "openmmlab").mkdir()
    wanted = encoder_state(build("segnext_t"))
    torch.save({"state_dict": wanted}, tmp_path / "openmmlab" / "mscan_t.pth")
    found = encoder_state(build("segnext_t", key, "imagenet"))
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_the_list_of_published_weights_is_that_of_the_code():
    stated = {one.name: one for one in read_statements()}
    for variant, (*_, file) in families.SEGNEXT.items():
        one = stated[f"openmmlab/mscan_{variant}"]
        assert one.url == families.SEGNEXT_URL + file and one.file == file
        assert one.sha256 and f"-{one.sha256}." in file


def test_the_trunk_of_clip_begins_as_it_is_and_learns(build):
    student = build("clip_trunk", dim=128).train()
    trunk = student.network.trunk.state_dict()
    assert trunk.keys() == load_clip("embedded-vit").visual.state_dict().keys() - {"proj"}
    assert all(
        torch.equal(t, load_clip("embedded-vit").visual.state_dict()[n]) for n, t in trunk.items()
    )
    assert student.normalize(torch.full((3, 1, 1), 255.0)).max() < 2.2  # CLIP's statistics
    dense = student(torch.randn(2, 3, 64, 48))
    assert dense.shape == (2, 128, 16, 12)
    dense.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())


def test_a_clip_of_convolutions_has_no_such_trunk(build):
    with pytest.raises(UserError, match="ViT"):
        build("clip_trunk", "MODEL.CLIP.ARCHITECTURE", "embedded-convnext")
