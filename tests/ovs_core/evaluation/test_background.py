import pytest
import torch

from ovs_core.errors import UserError
from ovs_core.evaluation.background import (
    best_query,
    check_rule,
    fold_last_class,
    threshold_labels,
)


def test_rules():
    assert check_rule(None) == "none" and check_rule("last_class") == "last_class"
    with pytest.raises(UserError, match="'last_clas' is unknown. Did you mean 'last_class'"):
        check_rule("last_clas")


def test_extra_words_become_the_last_class():
    labels = torch.tensor([[0, 19], [20, 58]])
    assert fold_last_class(labels, 20).tolist() == [[0, 19], [20, 20]]


def test_best_query_of_each_class():
    scores = torch.tensor([1.0, 4.0, 2.0, 3.0])[:, None, None].expand(4, 2, 2)
    best = best_query(scores, torch.tensor([0, 1, 1, 0]))
    assert best[:, 0, 0].tolist() == [3, 4]
    assert best_query(scores, torch.tensor([3, 2, 1, 0]))[:, 0, 0].tolist() == [3, 2, 4, 1]


def test_softmax_runs_over_all_queries_before_they_are_merged():
    logits = torch.zeros(4, 1, 1)
    _, scores = threshold_labels(
        logits, query_to_class=torch.tensor([0, 0, 0, 1]), logit_scale=1.0, prob_threshold=0.0
    )
    assert scores.flatten().tolist() == [0.25, 0.25]


def test_unsure_pixels_become_background():
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.1]])[:, None]  # classes x 1 x 2 pixels
    queries = torch.tensor([0, 1])
    options = {"query_to_class": queries, "logit_scale": 5.0}
    assert threshold_labels(logits, prob_threshold=0.0, **options)[0].tolist() == [[1, 1]]
    assert threshold_labels(logits, prob_threshold=0.9, **options)[0].tolist() == [[1, 0]]


def test_a_class_at_the_area_limit_is_dropped():
    winners = torch.tensor([1] * 9 + [2])  # class 2 wins a tenth of the foreground
    logits = torch.nn.functional.one_hot(winners, 3).T.float()[:, None]
    options = {"query_to_class": torch.arange(3), "logit_scale": 9.0, "prob_threshold": 0.0}
    assert 2 in threshold_labels(logits, area_threshold=0.09, **options)[0]
    assert 2 not in threshold_labels(logits, area_threshold=0.1, **options)[0]
