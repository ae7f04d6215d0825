import torch

from ovs_core.modeling.score_thresholds import ScoreThresholds, best_query


def test_best_query_of_each_class():
    scores = torch.tensor([1.0, 4.0, 2.0, 3.0])[:, None, None].expand(4, 2, 2)
    best = best_query(scores, torch.tensor([0, 1, 1, 0]))
    assert best[:, 0, 0].tolist() == [3, 4]
    assert best_query(scores, torch.tensor([3, 2, 1, 0]))[:, 0, 0].tolist() == [3, 2, 4, 1]


def test_softmax_runs_over_all_queries_before_they_are_merged():
    logits = torch.zeros(4, 1, 1)
    scores = ScoreThresholds(scale=1.0)(logits, [0, 0, 0, 1])
    assert scores.full().flatten().tolist() == [0.25, 0.25]
    assert (scores.num_classes, scores.size) == (2, (1, 1))


def test_unsure_pixels_become_background():
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.1]])[:, None]  # classes x 1 x 2 pixels
    assert ScoreThresholds(5.0)(logits, [0, 1]).labels().tolist() == [[1, 1]]
    assert ScoreThresholds(5.0, probability=0.9)(logits, [0, 1]).labels().tolist() == [[1, 0]]


def test_a_class_at_the_area_limit_is_dropped():
    winners = torch.tensor([1] * 9 + [2])  # class 2 wins a tenth of the foreground
    logits = torch.nn.functional.one_hot(winners, 3).T.float()[:, None]
    assert 2 in ScoreThresholds(9.0, area=0.09)(logits, range(3)).labels()
    assert 2 not in ScoreThresholds(9.0, area=0.1)(logits, range(3)).labels()


def test_scores_are_divided_by_their_sum_after_the_threshold():
    logits = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(0))
    queries = [0, 0, 1, 2, 2]  # the best query of a class counts, so the classes sum to less than 1
    plain = ScoreThresholds(2.0, probability=0.5)(logits, queries)
    shares = ScoreThresholds(2.0, probability=0.5, renormalize=True)(logits, queries)
    best = plain.full().amax(0)
    assert (best < 0.5).any() and torch.equal(
        plain.labels() == 0, (best < 0.5) | (plain.full().argmax(0) == 0)
    )
    assert torch.equal(plain.labels(), shares.labels())
    assert torch.allclose(shares.full(), plain.full() / plain.full().sum(0))
    assert torch.allclose(shares.full().sum(0), torch.ones(6, 7))
