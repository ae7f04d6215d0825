"""Where the weights of a CLIP are looked for, and what is said where they are not."""

import hashlib
import json
import socket

import open_clip
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from ovs_core.clip import load_clip, lookup
from ovs_core.clip.loading import find_weights
from ovs_core.clip.published import PublishedFile, published_files
from ovs_core.clip.tokenizer import build_tokenizer
from ovs_core.errors import UserError

NAMES = ("ViT-B-16-quickgelu", "openai")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A weights folder and an empty cache of the hub."""
    monkeypatch.setenv("OVS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def offline(monkeypatch):
    def unknown(*args, **keywords):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *a, **k: pytest.fail("tried"))


def test_the_registry_states_files_addresses_and_checksums():
    files = published_files(*NAMES)
    assert [file.file for file in files] == [
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.bin",
        "ViT-B-16.pt",
    ]
    assert files[0].url == (
        "https://huggingface.co/timm/vit_base_patch16_clip_224.openai/resolve/main/"
        "open_clip_model.safetensors"
    )
    assert not files[0].sha256 and len(files[2].sha256) == 64 and files[2].sha256 in files[2].url
    (beginning,) = {f.sha256 for f in published_files("RN50-quickgelu", "yfcc15m") if f.sha256}
    assert beginning == "455df137"
    assert published_files("ViT-B-16", "none") == []


@pytest.mark.parametrize(
    "place",
    [
        "ViT-B-16-quickgelu/openai.safetensors",
        "ViT-B-16-quickgelu/openai.pt",
        "ViT-B-16.pt",
        "vit_base_patch16_clip_224.openai/open_clip_model.safetensors",
        "timm/vit_base_patch16_clip_224.openai/open_clip_pytorch_model.bin",
    ],
)
def test_a_tag_is_found_in_the_weights_folder(folder, tmp_path, place):
    assert find_weights(*NAMES, str(tmp_path)) is None
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).touch()
    assert find_weights(*NAMES, str(tmp_path)) == folder / place


def test_a_name_is_found_in_the_weights_folder(folder, tiny_clip):
    state = {name: value.clone() for name, value in tiny_clip.model.state_dict().items()}
    save_file(state, folder / "mine.safetensors")
    clip = load_clip(tiny_clip.architecture, "mine.safetensors")
    assert clip.identity.text_fingerprint == tiny_clip.identity.text_fingerprint
    (folder / "sub").mkdir()
    content = {"model_cfg": json.loads(open(tiny_clip.architecture).read())}
    (folder / "sub" / "open_clip_config.json").write_text(json.dumps(content))
    save_file(state, folder / "sub" / "open_clip_model.safetensors")
    assert find_weights(tiny_clip.architecture, "sub") == (
        folder / "sub" / "open_clip_model.safetensors"
    )
    with pytest.raises(UserError, match="none.pt: no such weight file"):
        load_clip(tiny_clip.architecture, "none.pt")


def test_a_file_is_held_against_the_checksum_of_the_registry(
    folder, tiny_clip, tmp_path, monkeypatch
):
    path = folder / "tag.pt"
    torch.save(dict(tiny_clip.model.state_dict()), path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    entry = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "quick_gelu": True}
    monkeypatch.setattr(lookup, "get_pretrained_cfg", lambda *names: entry)
    for stated in (right, "00000000"):
        file = PublishedFile("tiny/tag", "https://hub.example/tag.pt", "tag.pt", stated)
        monkeypatch.setattr(lookup, "published_files", lambda *names, file=file: [file])
        if stated == right:
            load_clip(tiny_clip.architecture, "tag")
        else:
            with pytest.raises(UserError, match="tag.pt: damaged, it is not what was published"):
                load_clip(tiny_clip.architecture, "tag")


def test_without_a_network_one_line_says_what_to_do(folder, offline, tmp_path):
    with pytest.raises(UserError) as told:
        load_clip(*NAMES, cache_dir=str(tmp_path / "hub"))
    line = str(told.value)
    assert "\n" not in line and len(line.replace(str(folder), "")) < 450
    for part in (
        "ViT-B-16-quickgelu/openai are not on this disk",
        "huggingface.co cannot be reached (Name or service not known)",
        "`ovsuite weights get ViT-B-16-quickgelu/openai`",
        "resolve/main/open_clip_model.safetensors",
        str(folder / "ViT-B-16-quickgelu" / "openai.safetensors"),
        "MODEL.CLIP.PRETRAINED /path/to/",
    ):
        assert part in line


def test_a_hub_that_is_switched_off_is_not_asked(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("asked"))
    with pytest.raises(UserError, match="not on this disk, and HF_HUB_OFFLINE is set"):
        load_clip(*NAMES, cache_dir=str(tmp_path / "hub"))


def test_a_tokenizer_of_the_hub_is_not_waited_for(folder, offline, monkeypatch):
    config = open_clip.get_model_config("ViT-B-16-SigLIP")
    monkeypatch.setattr("ovs_core.clip.tokenizer.try_to_load_from_cache", lambda *names: None)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda *a, **k: pytest.fail("tried"))
    with pytest.raises(UserError) as told:
        build_tokenizer("ViT-B-16-SigLIP", config)
    for part in ("timm/ViT-B-16-SigLIP", "cannot be reached", str(folder)):
        assert part in str(told.value)
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models

    inner = Tokenizer(models.WordLevel({"sea": 0, "<pad>": 1}, unk_token="sea"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>").save_pretrained(
        folder / "timm" / "ViT-B-16-SigLIP"
    )
    tokens = build_tokenizer("ViT-B-16-SigLIP", config)(["sea"])
    assert tokens.tolist() == [[0, *[1] * 63]]
