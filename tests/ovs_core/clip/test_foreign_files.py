"""CLIPs as others keep them: random weights, each in its code base's own layout."""

import json
import shutil

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from ovs_core.clip import load_clip
from ovs_core.clip.lookup import pixel_statistics
from ovs_core.clip.renaming import from_transformers
from ovs_core.errors import UserError

from .conftest import TINY

transformers = pytest.importorskip("transformers")

BLOCKS = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}
VISION = {"hidden_size": 32, "image_size": 32, "patch_size": 8, **BLOCKS}
TEXT = {"hidden_size": 32, "max_position_embeddings": 20, "bos_token_id": 1, "eos_token_id": 2}
TEXT |= BLOCKS
WORDS = ["a", "red", "house", "the", "sea", "<pad>", "</s>"]


def randomise(model):
    generator = torch.Generator().manual_seed(0)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return model.eval()


def transformers_clip(folder, act="quick_gelu"):
    config = transformers.CLIPConfig(
        projection_dim=16,
        text_config={**TEXT, "vocab_size": 49408, "hidden_act": act},
        vision_config={**VISION, "hidden_act": act},
    )
    model = randomise(transformers.CLIPModel(config))
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers") / "clip"
    return folder, transformers_clip(folder)


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory):
    """A SiglipModel with a tokenizer of its own and its preprocessing beside it."""
    folder = tmp_path_factory.mktemp("transformers") / "siglip"
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    config = transformers.SiglipConfig(
        text_config={**TEXT, "vocab_size": len(WORDS), "projection_size": 32}, vision_config=VISION
    )
    model = randomise(transformers.SiglipModel(config))
    model.save_pretrained(folder)
    from tokenizers import Tokenizer, models, pre_tokenizers

    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>"
    )
    tokenizer.save_pretrained(folder)
    shown = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(shown))
    return folder, model


def features(outcome):
    return outcome if isinstance(outcome, torch.Tensor) else outcome.pooler_output


@torch.no_grad()
def expect_equal(clip, theirs, ids):
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    pairs = [
        (clip.parts.encode_image(pictures), theirs.get_image_features(pixel_values=pictures)),
        (clip.parts.encode_text(ids), theirs.get_text_features(input_ids=ids)),
    ]
    for ours, wanted in pairs:
        assert torch.allclose(F.normalize(ours), F.normalize(features(wanted)), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def ids():
    drawn = torch.randint(3, 1000, (3, 20), generator=torch.Generator().manual_seed(2))
    drawn[:, 0] = 49406
    drawn[torch.arange(3), torch.tensor([5, 19, 9])] = 49407
    return drawn


def test_a_clip_model_computes_as_in_transformers(clip_folder, ids):
    folder, theirs = clip_folder
    theirs.text_model.eos_token_id = 49407
    clip = load_clip(f"local-dir:{folder}")
    expect_equal(clip, theirs, ids)
    assert clip.tokenizer(["a house"]).shape == (1, 20)


@pytest.mark.parametrize("act", ["gelu", "quick_gelu", "gelu_pytorch_tanh"])
def test_the_activation_is_that_of_the_folder(tmp_path, ids, act):
    theirs = transformers_clip(tmp_path / "clip", act)
    theirs.text_model.eos_token_id = 49407
    expect_equal(load_clip(f"local-dir:{tmp_path / 'clip'}"), theirs, ids)


def test_a_siglip_model_computes_as_in_transformers(siglip_folder):
    folder, theirs = siglip_folder
    clip = load_clip(f"local-dir:{folder}")
    tokens = clip.tokenizer(["a red house", "the sea"])
    assert tokens.shape == (2, 20) and tokens[0, :3].tolist() == [0, 1, 2]
    expect_equal(clip, theirs, tokens)
    assert torch.allclose(clip.pixel_mean, torch.tensor(127.5))
    assert torch.allclose(clip.pixel_std, torch.tensor(127.5))


def test_files_of_transformers_fit_a_stated_architecture(clip_folder, tmp_path):
    folder, theirs = clip_folder
    whole = load_clip(f"local-dir:{folder}")
    config = tmp_path / "stated.json"
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
    text = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2}
    for part in (vision, text):
        part["mlp_ratio"] = 2.5
    stated = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    config.write_text(json.dumps(stated))
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    for file in (folder, folder / "model.safetensors", tmp_path / "pytorch_model.bin"):
        clip = load_clip(str(config), str(file))
        for name, value in clip.model.state_dict().items():
            assert torch.equal(value, whole.model.state_dict()[name]), name
    config.write_text(json.dumps({**stated, "quick_gelu": False}))
    with pytest.raises(UserError, match="were trained with quick-GELU"):
        load_clip(str(config), str(folder / "model.safetensors"))


def test_a_folder_of_open_clip_says_what_it_is(tmp_path, tiny_clip):
    shown = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    content = {"model_cfg": TINY, "preprocess_cfg": shown}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    state = {name: value.clone() for name, value in tiny_clip.model.state_dict().items()}
    save_file(state, tmp_path / "open_clip_model.safetensors")
    for names in [(f"local-dir:{tmp_path}", ""), (tiny_clip.architecture, str(tmp_path))]:
        clip = load_clip(*names)
        assert clip.identity.text_fingerprint == tiny_clip.identity.text_fingerprint
        assert torch.allclose(clip.pixel_mean.flatten(), torch.tensor(shown["mean"]) * 255)


def test_a_compiled_training_of_several_processes_is_read(tmp_path, tiny_clip):
    state = {f"module._orig_mod.{k}": v for k, v in tiny_clip.model.state_dict().items()}
    content = {"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "epoch_3.pt")
    clip = load_clip(tiny_clip.architecture, str(tmp_path / "epoch_3.pt"))
    assert clip.identity.text_fingerprint == tiny_clip.identity.text_fingerprint


def test_the_layout_of_mobileclip_is_read(tmp_path):
    """A convolutional timm trunk and a text tower of its own, as open_clip publishes them."""
    vision = {"timm_model_name": "fastvit_t8", "timm_pool": "avg", "timm_proj": None}
    text = {"context_length": 20, "width": 32, "heads": 4, "layers": 2, "no_causal_mask": True}
    config = {"embed_dim": 16, "custom_text": True, "text_cfg": text}
    config["vision_cfg"] = {**vision, "image_size": 64}
    (tmp_path / "mobile.json").write_text(json.dumps(config))
    model = load_clip(str(tmp_path / "mobile.json"), "random").model
    torch.save({"state_dict": model.state_dict()}, tmp_path / "mobile.pt")
    clip = load_clip(str(tmp_path / "mobile.json"), str(tmp_path / "mobile.pt"))
    picture = torch.rand(1, 3, 64, 64)
    assert torch.equal(clip.parts.encode_image(picture), model.encode_image(picture))


@pytest.mark.parametrize(
    ("architecture", "tag"), [("MobileCLIP-S1", "datacompdr"), ("ViT-B-16-SigLIP", "webli")]
)
def test_a_file_is_normalised_as_the_tags_of_its_architecture(architecture, tag):
    published = open_clip.get_pretrained_cfg(architecture, tag)
    stated = (tuple(published["mean"]), tuple(published["std"]))
    assert pixel_statistics(architecture, "/weights/file.safetensors", None) == stated
    assert stated[0] != open_clip.OPENAI_DATASET_MEAN


def test_a_text_tower_of_old_files_becomes_a_part(tmp_path, tiny_clip):
    config = tmp_path / "custom.json"
    config.write_text(json.dumps({**TINY, "custom_text": True}))
    save_file(dict(tiny_clip.model.state_dict()), tmp_path / "old.safetensors")
    clip = load_clip(str(config), str(tmp_path / "old.safetensors"))
    ids = tiny_clip.tokenizer(["a house", "the sea"])
    assert torch.equal(clip.parts.encode_text(ids), tiny_clip.parts.encode_text(ids))


def test_every_tensor_finds_its_place(clip_folder, siglip_folder):
    """Without one that keeps its foreign name, or is left out."""
    for folder, theirs in (clip_folder, siglip_folder):
        renamed = from_transformers(load_file(folder / "model.safetensors"))
        assert not [name for name in renamed if "_model." in name]
        assert sum(v.numel() for v in renamed.values()) == sum(
            v.numel() for v in theirs.state_dict().values()
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "blip"}, "describes a 'blip'"),
        ({"vision_config": {"hidden_act": "relu"}}, "no configuration of a clip"),
        ({"text_config": {"hidden_size": "wide"}}, "no configuration of a clip"),
    ],
)
def test_folders_of_other_models_are_refused(clip_folder, tmp_path, change, message):
    folder = tmp_path / "other"
    shutil.copytree(clip_folder[0], folder)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError, match=message):
        load_clip(f"local-dir:{folder}")


def test_folders_without_weights_are_named(clip_folder, tmp_path):
    with pytest.raises(UserError, match="no folder of a CLIP"):
        load_clip(f"local-dir:{tmp_path}")
    with pytest.raises(UserError, match="no such folder"):
        load_clip(f"local-dir:{tmp_path / 'none'}")
    shutil.copy(clip_folder[0] / "config.json", tmp_path)
    with pytest.raises(UserError, match="holds no weights; looked for open_clip_model"):
        load_clip(f"local-dir:{tmp_path}")
    (tmp_path / "model.safetensors.index.json").touch()
    with pytest.raises(UserError, match="in several files; save them as one"):
        load_clip(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="config.json: cannot be read"):
        load_clip(f"local-dir:{tmp_path}")


def test_a_folder_without_its_tokenizer_says_so(siglip_folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(siglip_folder[0] / name, tmp_path)
    with pytest.raises(UserError, match="a tokenizer of its own, which is not in the folder"):
        load_clip(f"local-dir:{tmp_path}")
