from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image

from ovs_core.data.embedded.dataset import SPLITS
from tests.miniatures import SOURCES

METHOD = "cliptrase/tiny_maskclip"


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def user(tmp_path, monkeypatch, session_cache):
    """A person's folder, which is also the current one: pictures, a video, words, datasets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVSUITE_CACHE", str(session_cache))
    for split, count in (("train", 60), ("val", 20)):  # of the embedded world's 1,000 and 200
        monkeypatch.setitem(SPLITS, split, replace(SPLITS[split], count=count))
    rng = np.random.default_rng(0)
    blobs = rng.integers(0, 255, (3, 6, 8, 3), dtype=np.uint8)
    pictures = [Image.fromarray(b).resize((128, 96), Image.Resampling.BICUBIC) for b in blobs]
    (tmp_path / "pictures").mkdir()
    for name, picture in zip("abc", pictures, strict=True):
        picture.save(tmp_path / "pictures" / f"{name}.jpg", quality=95)
    pictures[0].save(tmp_path / "photo.jpg", quality=95)
    (tmp_path / "words.txt").write_text("# mine\ncar|automobile\nsky\n\nbackground: sand\n")
    write_video(tmp_path / "clip.avi", pictures * 4)
    write_dataset(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for source in ("coco_stuff", "ade20k_150", "voc2012", "sbd"):
        SOURCES[source](tmp_path)
    return tmp_path


def write_video(path, pictures):
    import cv2

    width, height = pictures[0].size
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (width, height))
    assert video.isOpened()
    for picture in pictures:
        video.write(np.asarray(picture)[..., ::-1])
    video.release()


def write_dataset(folder):
    for sub in ("images", "labels"):
        (folder / "street" / sub).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "street" / "images" / "a.jpg")
    Image.new("L", (8, 8), 1).save(folder / "street" / "labels" / "a.png")
    stanza = {"images": "street/images", "labels": "street/labels", "names": ["road", "car"]}
    (folder / "my_data.yaml").write_text(yaml.safe_dump({"street_val": stanza}))
