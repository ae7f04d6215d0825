import pytest

from ovs_core.engine.config import dotted_keys, load_cfg
from ovs_core.errors import UserError


def write(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return path


def test_file_and_options(tmp_path):
    cfg = load_cfg(
        write(tmp_path, "MODEL:\n  OVS:\n    OUTPUT: scores\n"), ["SOLVER.BASE_LR", "0.5"]
    )
    assert cfg.MODEL.OVS.OUTPUT == "scores"
    assert cfg.SOLVER.BASE_LR == 0.5
    assert cfg.MODEL.DEVICE in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("MODEL:\n  OVS:\n    OUTPT: labels\n", [], r"x\.yaml.*OUTPT.*Did you mean '.*OUTPUT'"),
        ("MODEL: {}\n", ["SOLVER.BASE_RL", "1"], "command line.*Did you mean 'SOLVER.BASE_LR'"),
        ("SOLVER:\n  BASE_LR: [1]\n", [], "x.yaml: "),
        ("MODEL:\n  - [\n", [], "not valid YAML"),
        ("_BASE_: none.yaml\n", [], "_BASE_"),
        ("MODEL: {}\n", ["SOLVER.BASE_LR"], "has no value"),
    ],
)
def test_mistakes_name_file_key_and_mend(tmp_path, text, options, message):
    with pytest.raises(UserError, match=message):
        load_cfg(write(tmp_path, text), options)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such config file"):
        load_cfg(tmp_path / "none.yaml")


def test_a_config_is_walked_with_its_inner_nodes():
    keys = {"A": 1, "B": {"C": {"D": 2}}}
    assert list(dotted_keys(keys)) == [
        ("A", 1), ("B", {"C": {"D": 2}}), ("B.C", {"D": 2}), ("B.C.D", 2)
    ]  # fmt: skip
