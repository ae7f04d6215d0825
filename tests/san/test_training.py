"""Training on the embedded world, and queries to begin from."""

import pytest
import torch
from safetensors.torch import save_file

from cliptrase.query_init import make_queries, save_queries
from ovs_core.data.build import dataset_metadata
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import run
from ovs_core.errors import UserError
from ovs_core.files.digests import file_digest
from ovs_core.methods.configs import find_config
from ovs_core.modeling.checkpoint import read_checkpoint
from ovs_core.modeling.mask2former import QueryInit
from ovs_core.words.dataset_words import dataset_vocabulary
from san.tables import TABLES

QUERIES = "side_adapter.query_embed"


def read_queries(path, shape):
    return QueryInit(str(path), "MODEL.SAN.QUERY_INIT", "Q, D").read(shape)


STEP = [
    "MODEL.DEVICE", "cpu", "DATASETS.TEST", "()", "SOLVER.IMS_PER_BATCH", "1", "SOLVER.MAX_ITER",
    "1", "INPUT.CROP.SIZE", "[64,64]", "INPUT.SIZE_DIVISIBILITY", "64", "INPUT.MIN_SIZE_TRAIN",
    "(64,)", "MODEL.SIDE_ADAPTER.NUM_QUERIES", "6", "SOLVER.BASE_LR", "0.0",
]  # fmt: skip


@pytest.fixture
def queries(tmp_path):
    """A file as ``ovsuite analyse cliptrase`` writes it."""
    path = tmp_path / "queries.safetensors"
    made = make_queries(torch.randn(20, 128), queries=6, width=96)
    save_queries(made, path)
    return path, made


def trained(tmp_path, *options):
    folder = tmp_path / "run"
    run("san/tiny", [*STEP, "OUTPUT_DIR", str(folder), *options])
    return read_checkpoint(folder / "model_final.pth")


def test_a_training_begins_from_the_queries_of_a_file(queries, tmp_path):
    path, made = queries
    kept = trained(tmp_path, "MODEL.SAN.QUERY_INIT", str(path))
    assert torch.equal(kept["model"][QUERIES], made)
    assert kept["trainer"]["_trainer"]["model_run"] == {"query_init": file_digest(path)}
    # Weights win, a run that goes on does not ask for the file, and an evaluation never does.
    path.unlink()
    again = ["MODEL.SAN.QUERY_INIT", str(path), "OUTPUT_DIR", str(tmp_path / "run")]
    run("san/tiny", [*STEP, *again, "SOLVER.MAX_ITER", "2"], resume=True)
    kept = read_checkpoint(tmp_path / "run" / "model_final.pth")
    assert torch.equal(kept["model"][QUERIES], made) and kept["iteration"] == 1
    with pytest.raises(UserError, match="QUERY_INIT: no such file"):
        trained(tmp_path / "new", "MODEL.SAN.QUERY_INIT", str(path))


def test_weights_win_over_the_queries_of_a_file(queries, tmp_path):
    path, made = queries
    plain = trained(tmp_path / "plain")
    weights = str(tmp_path / "plain" / "run" / "model_final.pth")
    kept = trained(tmp_path, "MODEL.SAN.QUERY_INIT", str(path), "MODEL.WEIGHTS", weights)
    assert torch.equal(kept["model"][QUERIES], plain["model"][QUERIES])
    assert not torch.equal(plain["model"][QUERIES], made)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"queries": torch.zeros(1, 6, 96)}, "holds no query_embed, only queries"),
        ({"query_embed": torch.zeros(1, 5, 96)}, r"is \(1, 5, 96\) .*needs \(1, 6, 96\)"),
        ({"query_embed": torch.full((1, 6, 96), torch.nan)}, "finite"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused(tensors, message, tmp_path):
    path = tmp_path / "queries.safetensors"
    save_file(tensors, path)
    with pytest.raises(UserError, match=message):
        read_queries(path, torch.Size([1, 6, 96]))


def test_the_published_name_is_known(tmp_path):
    values = torch.randn(1, 6, 96)
    save_file({"side_adapter_network.query_embed": values}, tmp_path / "q.safetensors")
    assert torch.equal(read_queries(tmp_path / "q.safetensors", values.shape), values)


def test_the_published_class_names():
    cfg = load_cfg(find_config("san/vitb16"))
    field = cfg.MODEL.OVS.NAME_FIELD
    texts = {n: dataset_vocabulary(dataset_metadata(n), name_field=field).texts
             for n in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)}  # fmt: skip
    assert {n: len(t) for n, t in texts.items()} == {
        "coco_stuff_171_train": 171, "ade20k_847_val": 847, "context_459_val": 459,
        "ade20k_150_val": 150, "context_59_val": 59, "voc_20_val": 20,
    }  # fmt: skip
    assert texts["voc_20_val"][-1] == "tv"
    assert "road, route" in texts["ade20k_150_val"] and "door" in texts["ade20k_150_val"]
    assert all(text == text.strip() for listed in texts.values() for text in listed)
    assert "adding machine, totalizer, totaliser" in texts["ade20k_847_val"]


def test_rows_of_figure_8_differ_in_the_start_alone():
    for name in ("figure-8", "tiny-figure-8"):
        rows = TABLES[name].rows
        for random, chosen in zip(rows[::2], rows[1::2], strict=True):
            start, rest = chosen.options[:2], chosen.options[2:]
            assert start == ("MODEL.SAN.QUERY_INIT", "queries.safetensors")
            assert (random.config, random.options) == (chosen.config, rest)
            cfg = load_cfg(find_config(chosen.config), list(chosen.options))
            assert len(cfg.DATASETS.TEST) == 1
