"""Smoothed scores, pixels that no word wins, and how sure a segment is."""

import numpy as np
import pytest
import torch

from ovs_core.errors import UserError
from ovs_core.modeling.scores import GridScores, LabelScores
from ovs_core.predict.predictor import Predictor
from ovs_core.predict.rules import Rules
from ovs_core.words.vocabulary import Vocabulary

WORDS = Vocabulary.parse("left, right")
# Sure of the left, sure of the right, and in the middle column of neither.
MAPS = torch.tensor([[[2.0, 0.1, 0.0]], [[0.0, 0.0, 2.0]]]).repeat(1, 2, 1)
IMAGE = np.zeros((2, 3, 3), np.uint8)


def test_what_no_word_wins_has_a_value_of_its_own():
    scores = GridScores(MAPS, (2, 3))
    rules = Rules(unknown=0.6, scale=1.0)
    assert rules.labels(scores, IMAGE).tolist() == [[0, 2, 1]] * 2
    assert rules.names(WORDS) == ["left", "right", "unknown"]
    assert Rules(unknown=0.6, scale=100.0).labels(scores, IMAGE).tolist() == [[0, 0, 1]] * 2
    assert Rules(smooth=1).names(WORDS) == ["left", "right"]


def test_smoothing_follows_the_colours_of_the_picture():
    maps = torch.zeros(2, 32, 32)
    maps[0, :, :16], maps[1, :, 16:] = 1, 1
    maps[:, 20, 4] = torch.tensor([0.0, 1.0])  # a pixel that is wrong
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 200
    wanted = np.repeat([[0] * 16 + [1] * 16], 32, axis=0)
    for scores in (GridScores(maps, (32, 32)), LabelScores(maps.argmax(0), 2)):
        assert (scores.labels().numpy() != wanted).sum() == 1
        assert np.array_equal(Rules(smooth=2).labels(scores, image), wanted)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"smooth": -1}, "smooth -1"),
        ({"unknown": 1.0, "scale": 1.0}, "unknown 1.0: is a confidence"),
        ({"unknown": 0.3}, "not calibrated; set MODEL.OVS.CONFIDENCE_SCALE"),
    ],
)
def test_rules_that_make_no_sense(given, said):
    with pytest.raises(UserError, match=said):
        Rules(**given)


def test_a_method_without_scores_is_never_unsure():
    scores = LabelScores(torch.zeros(2, 3, dtype=torch.int64), 2)
    with pytest.raises(UserError, match="decides per region"):
        Rules(unknown=0.3, scale=1.0).labels(scores, IMAGE)
    with pytest.raises(UserError, match="'unknown' is one of the words"):
        Rules(unknown=0.3, scale=1.0).names(Vocabulary.parse("unknown, car"))


def test_a_result_says_how_sure_it_is(random_model):
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    plain = Predictor(random_model, config="first")(picture, "car, sky, sand")
    with pytest.raises(UserError, match="not calibrated"):
        plain.confidence(plain.segments[0])
    ruled = Predictor(random_model, config="first", rules=Rules(unknown=0.34, scale=10.0))
    result = ruled(picture, "car, sky, sand")
    unsure = result.find("unknown")
    share = unsure[0].share if unsure else 0
    assert 0 < share < 1 and result.made_with["config"] != plain.made_with["config"]
    known = [s for s in result.segments if s.name != "unknown"]
    assert all(1 / 3 <= result.confidence(segment) <= 1 for segment in known)
    with pytest.raises(UserError, match="'unknown' is none of the words"):
        result.score(unsure[0])
    same = result.labels == plain.labels
    assert same[result.labels < 3].all()
