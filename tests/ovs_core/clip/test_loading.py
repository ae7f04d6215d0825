import json
import pickle
import zipfile

import open_clip
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from ovs_core.clip import load_clip, read_weight_file
from ovs_core.clip.loading import find_weights
from ovs_core.errors import UserError

from .conftest import TINY

# OpenAI's format needs the tracer, which torch has since deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning"
)


def plain_state(clip):
    return {k: v.clone() for k, v in clip.model.state_dict().items()}


def openai_archive(clip, path):
    """Write a CLIP as OpenAI does: a TorchScript archive of half weights with three extras."""

    class Scripted(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            for name, child in model.named_children():
                setattr(self, name, child)
            for name, parameter in model.named_parameters(recurse=False):
                setattr(self, name, parameter)
            self.input_resolution = torch.tensor(32)
            self.context_length = torch.tensor(20)
            self.vocab_size = torch.tensor(49408)

        def forward(self, x):
            return self.visual.conv1(x)

    half = load_clip(clip.architecture, "random").model.half()
    torch.jit.trace(Scripted(half), torch.rand(1, 3, 32, 32).half()).save(str(path))


def test_a_file_of_each_kind_gives_the_same_clip(tiny_clip, tiny_config, tmp_path):
    state = plain_state(tiny_clip)
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "c.pt")
    for name in ("a.safetensors", "b.pt", "c.pt"):
        loaded = load_clip(tiny_config, str(tmp_path / name))
        assert loaded.identity.text_fingerprint == tiny_clip.identity.text_fingerprint
        assert torch.equal(loaded.visual.proj, tiny_clip.visual.proj)


def test_an_openai_archive_is_read_without_running_it(tiny_clip, tiny_config, tmp_path):
    path = tmp_path / "openai.pt"
    openai_archive(tiny_clip, path)
    file = read_weight_file(path)
    assert file.is_openai_archive
    loaded = load_clip(tiny_config, str(path))
    for name, value in loaded.model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, tiny_clip.model.state_dict()[name].half().float()), name


def test_an_archive_with_foreign_objects_is_refused(tmp_path):
    path = tmp_path / "bad.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(print))
        archive.writestr("a/code/x.py", "")
    with pytest.raises(UserError, match="run code"):
        read_weight_file(path)


def test_pickles_that_run_code_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-run"), "w"))

    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"evil\.pt: refused, because reading it would run code"):
        read_weight_file(tmp_path / "evil.pt")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_truncated_files_are_named(tiny_clip, tmp_path, name):
    path = tmp_path / name
    if name.endswith("safetensors"):
        save_file(plain_state(tiny_clip), path)
    else:
        torch.save(plain_state(tiny_clip), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=f"{name}.*(damaged|truncated|refused)"):
        read_weight_file(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such weight file"):
        load_clip("ViT-B-32", str(tmp_path / "none.pt"))


def test_weights_of_another_architecture_name_the_fitting_one(tmp_path):
    other = load_clip("ViT-B-32", "random")
    path = tmp_path / "b32.safetensors"
    save_file({k: v.clone() for k, v in other.model.state_dict().items()}, path)
    with pytest.raises(
        UserError,
        match="does not fit CLIP ViT-B-16: .*weights, .*ViT-B-32 or ViT-B-32-quickgelu",
    ):
        load_clip("ViT-B-16", str(path))


def test_activation_must_match(tiny_clip, tiny_config, tmp_path):
    openai_archive(tiny_clip, tmp_path / "openai.pt")
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({**TINY, "quick_gelu": False}))
    with pytest.raises(UserError, match="quick-GELU"):
        load_clip(str(plain), str(tmp_path / "openai.pt"))
    with pytest.raises(UserError, match="set MODEL.CLIP.ARCHITECTURE to ViT-B-16-quickgelu"):
        load_clip("ViT-B-16", "openai")


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'ViT-B-16'"):
        load_clip("ViT-B-17", "openai")
    with pytest.raises(UserError, match="Did you mean 'openai'"):
        load_clip("ViT-B-16-quickgelu", "opnai")


def test_random_weights_are_repeatable(tiny_config, tiny_clip):
    again = load_clip(tiny_config, "random")
    assert again.identity.text_fingerprint == tiny_clip.identity.text_fingerprint
    other = load_clip(tiny_config, "random", seed=1)
    assert other.identity.text_fingerprint != tiny_clip.identity.text_fingerprint


def test_weights_on_disk_are_found_without_a_download(tmp_path):
    assert find_weights("embedded-vit").is_file()
    file = tmp_path / "mine.pt"
    assert find_weights("ViT-B-16", str(file)) is None
    file.touch()
    assert find_weights("ViT-B-16", str(file)) == file
    assert find_weights("ViT-B-16", "no_such_tag", str(tmp_path)) is None
    assert find_weights("ViT-B-16-quickgelu", "openai", str(tmp_path)) is None


def test_weights_in_the_hub_cache_are_those_that_open_clip_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    # The layout that huggingface_hub writes: refs name the commit whose snapshot holds the files.
    published = open_clip.pretrained.get_pretrained_cfg("ViT-B-16-quickgelu", "openai")
    repository = published["hf_hub"].rstrip("/")
    cache = tmp_path / ("models--" + repository.replace("/", "--"))
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    for name in ("open_clip_pytorch_model.bin", "open_clip_model.safetensors"):
        (snapshot / name).touch()
        found = find_weights("ViT-B-16-quickgelu", "openai", str(tmp_path))
        assert found == snapshot / name
        assert str(found) == open_clip.download_pretrained(published, cache_dir=str(tmp_path))
