"""Engines and numbers of ``MODEL.OVS.RUNTIME``: equal labels, or a line that says why not."""

import json
import logging
import sys
from importlib.util import find_spec

import pytest
import torch
from PIL import Image

from ovs_core import Predictor
from ovs_core.commands import main
from ovs_core.data.embedded.scenes import render_scene
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter, run
from ovs_core.errors import UserError
from ovs_core.export import export
from ovs_core.methods.configs import find_config
from ovs_core.modeling.runtime import eager, engines, measure_agreement, torch_part
from ovs_core.modeling.runtime.graph_files import GraphFiles
from ovs_core.modeling.runtime.graph_part import tensors_of
from ovs_core.modeling.runtime_rule import RuntimeRule
from ovs_core.words.vocabulary import Vocabulary

KEY = "MODEL.OVS.RUNTIME"
WORDS = "car, sky, tree, wall, floor"
SIZE = (64, 96)
# Patches that are labelled, costs that are aggregated by a second part, masks that are found
KINDS = ("cliptrase/tiny_scr", "hclip/tiny", "san/tiny")


def needs(engine):
    missing = [name for name in (engine, "onnx", "onnxscript") if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{missing} not installed")


GRAPHS = [pytest.param(engine, marks=needs(engine)) for engine in engines.GRAPH_ENGINES]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("OVSUITE_CACHE", str(folder))
        yield folder


def options(engine="eager", dtype="float32", *more):
    return ["MODEL.DEVICE", "cpu", f"{KEY}.ENGINE", engine, f"{KEY}.DTYPE", dtype, *more]


def build(name, *runtime):
    torch.manual_seed(0)  # of what has no weights here
    model = build_segmenter(load_cfg(find_config(name), options(*runtime)))
    model.set_vocabulary(WORDS)
    return model


def scenes(count=2):
    images = [render_scene(seed, SIZE).image.transpose(2, 0, 1) for seed in range(count)]
    return [torch.from_numpy(image.copy()).float() for image in images]


def share(model):
    return measure_agreement(model, [(scene, SIZE) for scene in scenes()]).share


@torch.no_grad()
def features(model):
    return tensors_of(model.encode_picture(scenes(1)[0]))


@pytest.mark.parametrize("name", KINDS)
def test_fewer_bits_change_features_little(name):
    model = build(name, "eager", "bfloat16")
    found = features(model)
    with eager(model):
        exact = features(model)
    assert all(tensor.dtype == torch.float32 for tensor in found if tensor.is_floating_point())
    pairs = [(a.float(), b.float()) for a, b in zip(found, exact, strict=True)]
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert all((a - b).norm() < 0.1 * b.norm() for a, b in pairs)


def test_a_compiled_method_labels_alike(monkeypatch):
    monkeypatch.setattr(torch_part, "BACKEND", "eager")  # inductor takes a minute
    assert share(build(KINDS[0], "compile")) == 1


@pytest.mark.parametrize("engine", GRAPHS)
def test_graphs_label_alike(engine, cache):
    model = build(KINDS[0], engine)
    assert share(model) > 0.999
    stated = [json.loads(p.read_text())["graph"] for p in cache.glob("runtimes/*/*.json")]
    assert len([name for name in stated if name.startswith("encode") and "int8" not in name]) == 1
    with torch.no_grad():
        inputs = [{"image": scene} for scene in scenes(3)]
        together = [one["sem_seg_labels"] for one in model(inputs)]
        alone = [model([one])[0]["sem_seg_labels"] for one in inputs]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


@needs("onnxruntime")
def test_weights_of_eight_bits_change_few_labels():
    assert 0.9 < share(build(KINDS[0], "onnxruntime", "int8"))


def test_a_graph_is_written_once_and_anew_when_damaged(caplog):
    written = []

    def write(path):
        written.append(path)
        path.write_bytes(b"graph")

    files = GraphFiles(["a model"])
    path = files.get("a size", write)
    assert files.get("a size", write) == path and len(written) == 1
    assert GraphFiles(["another"]).get("a size", write) != path and len(written) == 2
    path.write_bytes(b"grape")
    with caplog.at_level(logging.WARNING):
        assert files.get("a size", write).read_bytes() == b"graph"
    assert "damaged graph, writing it anew" in caplog.text and len(written) == 3
    path.with_suffix(".json").write_text("[" * 9)
    assert files.get("a size", write) == path and len(written) == 4


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "file" / "cache"))
    path = GraphFiles(["a model"]).get("a size", lambda part: part.write_bytes(b"graph"))
    assert path.read_bytes() == b"graph" and tmp_path not in path.parents
    assert "graphs are written for this run alone" in caplog.text


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        (KINDS[0], ["eager", "int8"], "eager does not compute in int8; choose float32 or bfloat16"),
        (KINDS[0], ["openvin", "float32"], "RUNTIME.ENGINE.*Did you mean 'openvino'"),
        (KINDS[0], ["eager", "float8"], "RUNTIME.DTYPE"),
        ("maftplus/maft_tiny", ["eager", "bfloat16"], "no single network encodes its pictures"),
        ("hclip/detection/tiny", ["eager", "bfloat16"], "eager float32 alone"),
        (
            "cliptrase/tiny",
            ["eager", "bfloat16", "MODEL.CLIPTRASE.SCR.GT_RESTRICTED", "True"],
            "needs the true labels",
        ),
    ],
)
def test_what_cannot_be_is_refused(name, more, message):
    with pytest.raises(UserError, match=message):
        build(name, *more)


def test_neither_trainings_nor_files_have_an_engine(tmp_path):
    lower = options("eager", "bfloat16")
    with pytest.raises(UserError, match="a training needs eager float32"):
        run("hclip/tiny", [*lower, "OUTPUT_DIR", str(tmp_path)])
    cfg = load_cfg(find_config(KINDS[0]), lower)
    with pytest.raises(UserError, match="a written file needs eager float32"):
        export(cfg, WORDS, tmp_path / "a.pt2", size=SIZE)
    model = build(KINDS[0], "eager", "bfloat16").train()
    with pytest.raises(UserError, match="no way to train"):
        model.encode(scenes(1)[0][None])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"package openvino; pip install -e '\.\[openvino\]'"):
        engines.check_engine(RuntimeRule("openvino"), torch.device("cpu"))
    with pytest.raises(UserError, match="runs on the CPU, but MODEL.DEVICE is cuda"):
        engines.check_engine(RuntimeRule("openvino"), torch.device("cuda"))


def test_a_run_stops_where_too_few_labels_agree(tmp_path, capsys):
    photo = tmp_path / "photo.png"
    Image.fromarray(render_scene(0, SIZE).image).save(photo)
    line = ["segment", str(photo), "--words", WORDS, "--method", KINDS[0], "--check-agreement", "2",
            "--output", str(tmp_path / "out"), "--opts", *options("eager", "bfloat16")]  # fmt: skip
    strict = [f"{KEY}.MIN_AGREEMENT", "1.0"]
    assert main([*line, *strict]) == 1
    assert "fewer than MIN_AGREEMENT 100.000%; choose another" in capsys.readouterr().err
    assert main([*line, *strict, f"{KEY}.FORCE", "True"]) == 0
    assert "of the labels of 1 pictures are those of eager float32" in capsys.readouterr().out


def test_results_say_which_engine_made_them():
    words, plain = Vocabulary.parse(WORDS), options("eager", "float32", f"{KEY}.FORCE", "True")
    made = [
        Predictor.from_config(KINDS[0], device="cpu", options=more).made_with(words)["config"]
        for more in ([], plain, options("eager", "bfloat16"))
    ]
    assert made[0] == made[1] != made[2]
