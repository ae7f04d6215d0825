"""Turning stored label values into class indices."""

from pathlib import Path

import numpy as np
import pytest

from ovs_core.data import label_rules
from ovs_core.errors import UserError
from parity import runner as parity
from parity.core.labels import run_label_conversion

FIXTURE = Path(__file__).parents[2] / "data" / "data" / "label_conversion.npz"


def test_reference_vectors():
    assert run_label_conversion.__name__ == "run_label_conversion"
    rows = parity.check_file("evaluation", FIXTURE)
    assert len(rows) == 16
    assert [row.name for row in rows if not row.passed] == []


@pytest.mark.parametrize("name", label_rules.rule_names())
def test_every_rule_gives_a_table(name):
    table = label_rules.conversion_table(name)
    assert table.shape in ((256,), (65536,)) and table.dtype in (np.uint8, np.uint16)


@pytest.mark.parametrize(
    ("rules", "stored", "expected"),
    [
        (("coco_stuff", "coco_27"), [0, 123, 11, 255], [9, None, 255, 255]),
        (("coco_object_scored",), [0, 79, 80, 81, 170, 255], [0, 79, 80, 255, 255, 80]),
        (("coco_object",), [0, 79, 80, 255], [1, 80, 0, 0]),
        (("zero_is_ignore", "ignore_is_20"), [0, 1, 20, 255], [20, 0, 19, 20]),
        (("zero_is_ignore", "ignore_is_first"), [0, 1, 59], [0, 1, 59]),
        (("ignore_is_59",), [0, 58, 255], [0, 58, 59]),
        (("context_459_foreign",), [0, 458, 459, 65535], [0, 458, 65535, 65535]),
        (("cityscapes_27",), [0, 6, 7, 33, 34, 255], [255, 255, 0, 26, 255, 255]),
        (("cityscapes_19",), [7, 24, 29, 33, 255], [0, 11, 255, 18, 255]),
        (("coco_133",), [0, 1, 90, 200], [255, 0, 79, 132]),
    ],
)
def test_rules(rules, stored, expected):
    wide = max(stored) > 255
    found = label_rules.convert_labels(np.array([stored], np.uint16 if wide else np.uint8), *rules)
    for got, wanted in zip(found[0].tolist(), expected, strict=True):
        assert wanted is None or got == wanted


def test_value_beyond_the_table_is_refused():
    with pytest.raises(UserError, match="values 3 to 300 do not fit"):
        label_rules.convert_labels(np.array([[3, 300]], np.uint16), "coco_stuff")
