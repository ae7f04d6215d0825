import pytest
import torch
from torch import nn

from ovs_core.errors import UserError
from ovs_core.load_report import find_tensors, load_report, load_weights

WORDS = {"source": "a.pth", "owner": "this config", "mend": "take another file"}


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_what_fits_is_loaded_in_any_precision():
    ours, theirs = module(), {k: v.double() + 1 for k, v in module().state_dict().items()}
    report = load_weights(ours, theirs, **WORDS)
    assert report.complete and set(report.used) == theirs.keys()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value.double(), theirs[name])


def test_a_refusal_names_all_that_is_wrong_and_loads_nothing():
    ours = module()
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    theirs = {"0.weight": torch.ones(4, 5, 1, 1), "1.weight": torch.ones(4), "head": torch.ones(1)}
    with pytest.raises(UserError) as error:
        load_weights(ours, theirs, **WORDS)
    assert str(error.value) == (
        "a.pth: does not fit this config: 1 tensors used; "
        "4 missing (0.bias, 1.bias, 1.running_mean, ...); 1 unexpected (head); "
        "1 of other shape (0.weight (4, 5, 1, 1) instead of (4, 3, 1, 1)); take another file"
    )
    assert all(torch.equal(before[k], v) for k, v in ours.state_dict().items())


def test_counters_of_batch_norms_are_not_missed():
    theirs = {k: v for k, v in module().state_dict().items() if "num_batches" not in k}
    assert load_weights(module(), theirs, **WORDS).complete


def test_a_share_may_be_enough_and_strange_tensors_stay_out():
    theirs = {**module().state_dict(), "head": torch.ones(1)}
    assert load_weights(module(), theirs, **WORDS, enough=1.0).unexpected == ("head",)
    del theirs["0.bias"]
    with pytest.raises(UserError, match=r"1 missing \(0\.bias\)"):
        load_weights(module(), theirs, **WORDS, enough=1.0)
    assert load_weights(module(), theirs, **WORDS, enough=0.8).share == pytest.approx(6 / 7)


def test_frozen_parts_may_come_but_need_not():
    state = module().state_dict()
    needed = {k: v for k, v in state.items() if k.startswith("1.")}
    assert load_report(needed, needed, known=state).complete
    assert load_report(state, needed, known=state).complete
    assert load_report(state, needed).unexpected == ("0.weight", "0.bias")


def test_tensors_are_found_below_the_usual_entries():
    tensors = {"a": torch.ones(1), "step": 3}
    for content in (tensors, {"model": tensors}, {"state_dict": tensors, "meta": {}}):
        assert find_tensors(content, "a.pth").keys() == {"a"}
    with pytest.raises(UserError, match="a.pth: holds no state dict .found list"):
        find_tensors([1], "a.pth")
    with pytest.raises(UserError, match="a.pth: its state dict holds no tensor"):
        find_tensors({"model": {"step": 3}}, "a.pth")
