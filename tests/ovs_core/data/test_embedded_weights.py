"""The shipped weights, loaded with nothing but open_clip and safetensors, on fresh pictures."""

import json

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from embedded_clip.probe import dense_miou, mask_accuracy
from ovs_core.clip import load_clip
from ovs_core.clip.architectures import EMBEDDED_DIR  # also makes the small ConvNeXt known to timm
from ovs_core.data.embedded import render_object, render_scene
from ovs_core.data.embedded.vocabulary import LARGE_NAMES, THINGS, unseen_pairs

FRESH = 77_000_000
MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)


def load(name):
    config = json.loads((EMBEDDED_DIR / f"{name}.json").read_text())
    merges = EMBEDDED_DIR / config["text_cfg"].pop("bpe_file")
    model = open_clip.CLIP(**config)
    weights = load_file(EMBEDDED_DIR / f"{name}.safetensors")
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    length = config["text_cfg"]["context_length"]
    return model.eval(), open_clip.SimpleTokenizer(str(merges), context_length=length)


def recognise(model, tokenizer, scenes, names):
    pixels = torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        words = model.encode_text(tokenizer([f"a photo of a {n}" for n in names]), normalize=True)
        pictures = model.encode_image((pixels - MEAN) / STD, normalize=True)
    return (pictures @ words.T).argmax(1)


@pytest.fixture(scope="module")
def vit():
    return load("vit")


@pytest.fixture(scope="module")
def convnext():
    return load("convnext")


def accuracy(clip, pairs, names, divisor):
    scenes = [render_object(FRESH + i, 64, pair=divmod(pair, 10)) for i, pair in enumerate(pairs)]
    guess = recognise(*clip, scenes, names)
    return (guess == torch.tensor(pairs) // divisor).float().mean().item()


LEAST = 0.95  # 20-way; chance is 5 percent
SEEN = [pair for pair in range(200) if pair not in unseen_pairs()]


def test_size_of_the_shipped_files():
    for path in EMBEDDED_DIR.glob("*.safetensors"):
        assert path.stat().st_size <= 5_000_000, path


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_things_are_recognised(name, request):
    assert accuracy(request.getfixturevalue(name), SEEN, THINGS, 10) >= LEAST


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_coloured_things_are_recognised(name, request):
    assert accuracy(request.getfixturevalue(name), SEEN, LARGE_NAMES[:200], 1) >= 0.93


def test_the_convolutional_clip_names_what_its_masks_cover():
    found = mask_accuracy(load_clip("embedded-convnext"), count=20)
    assert found["things"] >= 85 and found["stuff"] >= 93


def test_the_last_block_of_the_vit_hides_what_its_patches_know():
    """As that of CLIP does on photographs, which is what training-free methods undo."""
    found = dense_miou(load_clip("embedded-vit"), count=8)
    assert found["recovered"] >= 45
    assert found["recovered"] >= max(found["plain"], found["value-only"]) + 8


def test_both_clips_cut_words_alike(vit, convnext):
    """Their text towers differ since each was trained on with its pictures; the tokens do not."""
    texts = ["a red car", "a photo of sand"]
    assert torch.equal(vit[1](texts), convnext[1](texts))


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_pairs_that_no_caption_named_are_recognised_too(name, request):
    clip = request.getfixturevalue(name)
    seen = accuracy(clip, SEEN, LARGE_NAMES[:200], 1)
    unseen = accuracy(clip, 3 * unseen_pairs(), LARGE_NAMES[:200], 1)
    assert unseen >= 0.9 * seen


def test_captions_find_their_scenes(vit):
    """Retrieval among 50 scenes by their complete captions; chance is 2 percent."""
    model, tokenizer = vit
    scenes = [render_scene(FRESH + i, 64, unseen_pairs=False) for i in range(60)]
    scenes = [scene for scene in scenes if scene.captions][:50]
    pixels = torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        texts = model.encode_text(tokenizer([s.captions[0].text for s in scenes]), normalize=True)
        pictures = model.encode_image((pixels - MEAN) / STD, normalize=True)
    hits = (texts @ pictures.T).argmax(1) == torch.arange(len(scenes))
    assert hits.float().mean().item() >= 0.3


def test_words_outside_the_world_tokenise(vit):
    _, tokenizer = vit
    tokens = tokenizer(["an extraordinary zebra, naïve – 42 %"])
    assert tokens.max() == 1533 and (tokens[0] == 1533).sum() == 1
