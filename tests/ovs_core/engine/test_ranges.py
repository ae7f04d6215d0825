"""Every number and list of a config has a stated range, and values outside are refused at once."""

import pytest
from detectron2.config import get_cfg

from ovs_core.engine.config import dotted_keys, get_ovs_cfg, load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config, list_configs
from ovs_core.methods.ranges import (
    above,
    at_least,
    between,
    check_ranges,
    declared_ranges,
    from_up_to,
    list_of,
    one_of,
    texts,
)

# What Detectron2 brings and a training of the suite reads.
DETECTRON2S = """
    SEED SOLVER.MAX_ITER SOLVER.IMS_PER_BATCH SOLVER.BASE_LR SOLVER.WEIGHT_DECAY SOLVER.STEPS
    SOLVER.WARMUP_ITERS SOLVER.CHECKPOINT_PERIOD INPUT.MIN_SIZE_TRAIN INPUT.MIN_SIZE_TEST
    INPUT.MAX_SIZE_TRAIN INPUT.MAX_SIZE_TEST DATALOADER.NUM_WORKERS TEST.EVAL_PERIOD DATASETS.TRAIN
    DATASETS.TEST
""".split()


def test_every_number_and_list_of_the_suite_has_a_range():
    given = dict(dotted_keys(get_cfg()))
    values = {k: v for k, v in dotted_keys(get_ovs_cfg()) if k not in given}
    ranged = [
        key
        for key, value in values.items()
        if isinstance(value, (int, float, list, tuple)) and not isinstance(value, bool)
    ]
    assert len(ranged) > 100
    assert [key for key in [*ranged, *DETECTRON2S] if key not in declared_ranges()] == []


def test_no_range_is_stated_for_a_key_that_does_not_exist():
    known = dict(dotted_keys(get_ovs_cfg()))
    assert [key for key in declared_ranges() if key not in known] == []


def test_the_defaults_and_every_config_are_in_range():
    check_ranges(dict(dotted_keys(get_ovs_cfg())), "the defaults")
    for name in list_configs():
        load_cfg(find_config(name))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.ACCUMULATE", "0", "SOLVER.ACCUMULATE is 0; it must be at least 1"),
        ("SOLVER.MAX_ITER", "-1", "SOLVER.MAX_ITER is -1; it must be at least 1"),
        ("SOLVER.MAX_ITER", "9" * 20, "SOLVER.MAX_ITER is 9{20}; .* at least 1, and of 64 bits"),
        ("SOLVER.CHECKPOINT_PERIOD", "0", "SOLVER.CHECKPOINT_PERIOD is 0"),
        ("SOLVER.BETAS", "[]", r"SOLVER.BETAS is \[\]; it must be a list of numbers .* 2 of them"),
        ("SOLVER.BASE_LR", "float('nan')", "SOLVER.BASE_LR"),
        ("SOLVER.BASE_LR", "1e999", "SOLVER.BASE_LR is inf"),
        ("MODEL.CLIPTRASE.IMAGE_SIZE", "-5", "MODEL.CLIPTRASE.IMAGE_SIZE is -5"),
        ("MODEL.OVS.PROTOCOL.DIVISOR", "0", "MODEL.OVS.PROTOCOL.DIVISOR is 0"),
        ("MODEL.OVS.PROTOCOL.SIZE", "[5]", "it must be .* 2 of them, or an empty one"),
        ("INPUT.MIN_SIZE_TRAIN", "()", r"INPUT.MIN_SIZE_TRAIN is \(\)"),
        ("DATASETS.TEST", "(5,)", "DATASETS.TEST is .*a list of texts"),
    ],
)
def test_values_outside_are_refused_with_the_key(key, value, message):
    with pytest.raises(UserError, match=message) as caught:
        load_cfg(find_config("cliptrase/tiny"), [key, value])
    assert "\n" not in str(caught.value)


def test_ranges_in_words():
    assert str(at_least(1, also=(-1,))) == "at least 1 or -1"
    assert str(from_up_to(0, 1)) == "at least 0 and below 1"
    assert str(above(0)) == "above 0"
    assert str(one_of(-1, 1)) == "-1 or 1"
    assert str(list_of(between(0, 1), least=1)) == (
        "a list of numbers at least 0 and at most 1, 1 or more of them"
    )
    assert str(texts()) == "a list of texts"


def test_what_is_no_number_is_in_no_range():
    for wrong in (True, "1", None, float("nan"), float("inf"), 10**400, [1]):
        assert not at_least(0).holds(wrong)
