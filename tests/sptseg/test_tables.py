"""Sweeps and the paper's letter: what differs from the config that they stand on."""

import pytest

from ovs_core.engine.config import dotted_keys, load_cfg
from ovs_core.methods.configs import find_config
from sptseg.tables import TABLES


def settings(config, options=()):
    cfg = load_cfg(find_config(config), list(options))
    return {k: v for k, v in dotted_keys(cfg) if not hasattr(v, "items")}


def differing(config, base, options=()):
    ours, theirs = settings(config, options), settings(base)
    return {k for k in ours if ours[k] != theirs[k]} - {"OUTPUT_DIR", "CONFIG_FILE"}


@pytest.mark.parametrize("name", ["sweeps", "tiny-sweeps"])
def test_a_row_of_a_sweep_differs_in_its_key_alone(name):
    plain, *rows = TABLES[name].rows
    assert plain.options == () and len(rows) == 10
    for row in rows:
        assert row.config == plain.config
        assert differing(row.config, plain.config, row.options) == {row.options[0]}, row.title


def test_the_biases_are_tried_on_both_methods_alike():
    rows = TABLES["tiny-bias"].rows
    assert all(row.shipped and row.options[0] == "MODEL.SPTSEG.SEEN_BIAS" for row in rows)
    tried = {config: {r.options[1] for r in rows if r.config == config}
             for config in ("sptseg/tiny", "sptseg/tiny_zegclip")}  # fmt: skip
    assert tried["sptseg/tiny"] == tried["sptseg/tiny_zegclip"]
    for config, biases in tried.items():  # both have the same one, and it is among the tried
        assert settings(config)["MODEL.SPTSEG.SEEN_BIAS"] == 0.02 and "0.02" in biases


def test_the_papers_letter_differs_in_the_heads_alone():
    changed = differing("sptseg/ablations/paper", "sptseg/sptseg_voc_inductive")
    assert changed == {
        "MODEL.SPTSEG.HILO.ALPHA_IS_HIGH",
        "MODEL.SPTSEG.HILO.HIGH_PROJECTION",
    }
