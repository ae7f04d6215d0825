"""What is of the embedded world is known as such, and no photograph is."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from ovs_core.clip import embedded_world, load_clip
from ovs_core.clip.embedded_world import knows_its_world_only, world_likeness
from ovs_core.data.embedded import render_object, render_scene, render_stuff
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture

PHOTOGRAPHS = Path(__file__).parents[2] / "data" / "photographs"
FRESH = 31_000_000


def as_jpeg(image, quality):
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed))


def variants(image):
    """The picture, turned, and as JPEG of several qualities."""
    yield image
    yield from (np.ascontiguousarray(np.rot90(image, turn)) for turn in (1, 2, 3))
    yield from (as_jpeg(image, quality) for quality in (10, 40, 95))


@pytest.mark.parametrize("render", [render_scene, render_object, render_stuff])
@pytest.mark.parametrize("size", [(64, 64), (192, 256), (384, 288)])
def test_drawn_pictures_are_of_it(render, size):
    for seed in range(FRESH, FRESH + 2):
        likeness = [world_likeness(one) for one in variants(render(seed, size).image)]
        assert min(likeness) > 0, (seed, likeness)


def photographs():
    named = {path.stem: read_picture(path) for path in sorted(PHOTOGRAPHS.glob("*.jpg"))}
    samples = load_sample_images()  # of scikit-learn: no part in the fit
    return named | {Path(n).stem: i for n, i in zip(samples.filenames, samples.images, strict=True)}


@pytest.mark.parametrize("name", photographs())
def test_photographs_are_not(name):
    likeness = [world_likeness(one) for one in variants(photographs()[name])]
    assert max(likeness) < 0, likeness


def test_it_is_asked_of_embedded_clips_alone():
    assert knows_its_world_only(load_clip("embedded-vit"))
    assert knows_its_world_only(load_clip("embedded-convnext"))
    assert not knows_its_world_only(load_clip("embedded-vit", "random"))
    real = load_clip("embedded-vit")
    real.architecture = "ViT-B-16"
    assert not knows_its_world_only(real)


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "embedded"
    shutil.copytree(embedded_world.EMBEDDED_DIR, folder)
    file = folder / "world.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    monkeypatch.setattr(embedded_world, "WORLD_FILE", file)
    monkeypatch.setattr("ovs_core.clip.file_memory.EMBEDDED_DIR", folder)
    embedded_world._model.cache_clear()
    try:
        with pytest.raises(UserError, match=r"world\.safetensors: damaged"):
            world_likeness(np.zeros((64, 64, 3), np.uint8))
    finally:
        embedded_world._model.cache_clear()
