import pytest
import torch

from ovs_core.errors import UserError
from ovs_core.evaluation.background import check_rule, fold_last_class


def test_rules():
    assert check_rule(None) == "none" and check_rule("last_class") == "last_class"
    with pytest.raises(UserError, match="'last_clas' is unknown. Did you mean 'last_class'"):
        check_rule("last_clas")


def test_extra_words_become_the_last_class():
    labels = torch.tensor([[0, 19], [20, 58]])
    assert fold_last_class(labels, 20).tolist() == [[0, 19], [20, 20]]
