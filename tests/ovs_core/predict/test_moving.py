"""Videos with their labels: steady, in steady memory, and kept when they are broken off."""

import itertools
import resource
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ovs_core.commands import main
from ovs_core.data.embedded import render_scene
from ovs_core.errors import UserError
from ovs_core.predict import video
from ovs_core.predict.moving import SteadyScores, segment_frames, write_video
from ovs_core.predict.predictor import Predictor
from ovs_core.predict.video import frame_rate, read_frames
from ovs_core.words.vocabulary import Vocabulary

WORDS = Vocabulary.parse("car, sky, sand")
METHOD = "cliptrase/tiny_maskclip"


def frames(count):
    """A grey that changes, with grain; none is ever seen twice."""
    rng = np.random.default_rng(0)
    for number in range(count):
        yield rng.integers(0, 60, (48, 64, 3), dtype=np.uint8) + np.uint8(number % 190)


def test_scores_are_averaged_over_time_and_begin_anew_at_another_size():
    steady = SteadyScores(0.5)
    one, two = torch.zeros(2, 1, 1), torch.ones(2, 1, 1)
    assert steady(one).flatten().tolist() == [0, 0]
    assert steady(two).flatten().tolist() == [0.5, 0.5]
    assert steady(two).flatten().tolist() == [0.75, 0.75]
    assert steady(torch.ones(2, 1, 2)).flatten().tolist() == [1, 1, 1, 1]
    with pytest.raises(UserError, match="steady 1"):
        SteadyScores(1)


class Grain:
    """A predictor whose scores are what two channels of a frame show."""

    def label(self, picture, words, *, blend=None):
        maps = torch.from_numpy(picture.rgb[..., :2].transpose(2, 0, 1).astype(np.float32))
        return (maps if blend is None else blend(maps)).argmax(0).numpy()


def flicker(labels):
    return np.mean([np.mean(a != b) for a, b in itertools.pairwise(labels)])


def test_labels_flicker_less():
    plain = list(segment_frames(Grain(), frames(12), WORDS))
    steady = list(segment_frames(Grain(), frames(12), WORDS, steady=0.8))
    assert np.array_equal(steady[0], plain[0])
    assert 0 < flicker(steady) < 0.6 * flicker(plain)


def test_single_frames_are_labelled_as_ever(random_model):
    predictor = Predictor(random_model)
    plain = [one.labels for one in segment_frames(predictor, frames(3), WORDS)]
    steady = [one.labels for one in segment_frames(predictor, frames(3), WORDS, steady=0.1)]
    alone = [predictor(frame, "car, sky, sand").labels for frame in frames(3)]
    assert all(np.array_equal(a, b) for a, b in zip(plain, alone, strict=True))
    assert np.array_equal(steady[0], alone[0])


def test_memory_stays_as_it_is_however_long_a_video_is(random_model, tmp_path):
    predictor = Predictor(random_model)
    seen = []

    def drawn():
        results = segment_frames(predictor, frames(200), WORDS, steady=0.5)
        for number, result in enumerate(results):
            if number in (60, 199):
                seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            yield result.image

    assert write_video(tmp_path / "long.avi", drawn(), 10) == 200
    assert seen[1] - seen[0] < 25 * 1024  # KiB


def test_a_video_that_is_broken_off_is_kept(tmp_path):
    def until_ctrl_c():
        yield from frames(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "short.avi", until_ctrl_c(), 10)
    assert len(list(read_frames(tmp_path / "short.avi"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["short.avi"]


@pytest.mark.parametrize(
    ("name", "shown", "said"),
    [
        ("a.gif", [], r"a\.gif: a video ends in \.mp4"),
        ("a.avi", [], "there was no frame"),
        ("a.avi", [np.zeros((48, 64, 3), np.uint8), np.zeros((8, 64, 3), np.uint8)], "cannot be"),
    ],
)
def test_what_is_no_video(tmp_path, name, shown, said):
    with pytest.raises(UserError, match=said):
        write_video(tmp_path / name, shown, 10)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_video_and_the_labels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
    scene = render_scene(31_500_003, (96, 128)).image
    write_video(tmp_path / "clip.avi", [np.roll(scene, 4 * n, axis=1) for n in range(6)], 12)
    line = ["video", "clip.avi", "--words", "car, sky, sand", "--method", METHOD, "--every", "2"]
    assert main([*line, "--output", "out.mp4", "--steady", "0.5", "--label-maps", "labels"]) == 0
    assert "out.mp4: 3 frames, 6 per second" in capsys.readouterr().out
    assert frame_rate("out.mp4") == pytest.approx(6, rel=0.01)
    shown = [frame for _, frame in read_frames("out.mp4")]
    assert len(shown) == 3 and shown[0].shape[1] >= 512
    names = ["000000_labels.png", "000002_labels.png", "000004_labels.png"]
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == names
    assert np.asarray(Image.open("labels/000000_labels.png")).shape == (96, 128)
    assert main([*line, "--output", "out.mp4"]) == 1
    assert "out.mp4: exists" in capsys.readouterr().err
    shutil.copy("clip.avi", "0")  # a file that is called like a camera
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda source: cv2.VideoWriter())
    assert main([*line[:1], "7", *line[2:], "--output", "camera.mp4"]) == 1
    assert "7: there is no camera of this number" in capsys.readouterr().err
