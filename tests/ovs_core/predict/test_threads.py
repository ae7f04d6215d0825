"""One predictor, many threads: every result is made of its own call's words."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ovs_core.clip import load_clip
from ovs_core.modeling.scores import LabelScores
from ovs_core.modeling.segmenter import Segmenter
from ovs_core.predict.predictor import Predictor
from ovs_core.words.vocabulary import Vocabulary

THREADS, CALLS = 8, 60
PICTURE = np.zeros((32, 32, 3), np.uint8)


class LastWord(Segmenter):
    """Labels every pixel with the last word, at no cost: what takes time is the bookkeeping."""

    def encode_picture(self, picture):
        return None

    def score_picture(self, encoded, size):
        count = len(self.vocabulary)
        return LabelScores(torch.full(size, count - 1), count)


@pytest.fixture
def predictor(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path))
    clip = load_clip("embedded-vit", "random")
    return Predictor(LastWord(clip=clip, templates=["a photo of a {}"]), notes=["given"])


@pytest.fixture
def eager_switching(monkeypatch):
    """Let Python change threads as often as it can, and whenever two word lists were compared."""

    def compare_and_give_way(self, other):
        same = equal(self, other)
        time.sleep(1e-4)
        return same

    equal = Vocabulary.__eq__
    monkeypatch.setattr(Vocabulary, "__eq__", compare_and_give_way)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def word_lists(thread):
    """Two lists of a thread's own, of a length of its own; odd threads have a word to be cut."""
    long = [f"{'very ' * 60}long word {thread}"] if thread % 2 else []
    return [[*long, *(f"thing {thread} {part} {i}" for i in range(thread + 1))] for part in "ab"]


@pytest.mark.usefixtures("eager_switching")
def test_notes_names_and_labels_belong_to_the_call(predictor):
    start = threading.Barrier(THREADS)

    def call(thread):
        wrong = 0
        lists = word_lists(thread)
        start.wait()
        for turn in range(CALLS):
            words = lists[turn // 5 % 2]
            result = predictor(PICTURE, words)
            cut = ["very very" in note for note in result.notes] == [False] + [True] * (thread % 2)
            right = result.names == words and (result.labels == len(words) - 1).all()
            wrong += not (cut and right)
        return wrong

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(call, range(THREADS))) == 0
