"""Whole runs of H-CLIP through the entry point: precision, checkpoints, commands."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from ovs_core.commands import main
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter, run
from ovs_core.errors import UserError
from ovs_core.methods.projects import config_dir
from ovs_core.modeling.checkpoint import read_checkpoint
from ovs_core.tensor.half_products import WideProducts
from tests.miniatures.stripes import write_stripes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Write a finished config: tiny H-CLIP for six steps on pictures of stripes."""
    folder = tmp_path_factory.mktemp("hclip")
    sets = write_stripes(folder / "world", "hclip_stripes")
    cfg = load_cfg(config_dir("hclip") / "tiny.yaml", [
        "DATASETS.YAML", f"['{sets}']", "DATASETS.TRAIN", "('hclip_stripes_train',)",
        "DATASETS.TEST", "('hclip_stripes_val',)", "SOLVER.MAX_ITER", "6",
        "SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.IMS_PER_BATCH", "2", "MODEL.CATSEG.LOSS", "bce",
    ])  # fmt: skip
    path = folder / "run.yaml"
    path.write_text(cfg.dump())
    return path


@pytest.fixture(scope="module")
def trained(config):
    """Weights of an uninterrupted run."""
    folder = config.parent / "whole"
    run(str(config), ["OUTPUT_DIR", str(folder)])
    return folder / "model_final.pth"


def options(path, *more):
    return ["MODEL.WEIGHTS", str(path), *more]


def weights(path):
    return read_checkpoint(path)["model"]


@pytest.mark.slow
def test_the_checkpoint_is_small_and_loads_with_the_name_of_the_clip_alone(config, trained):
    state = weights(trained)
    assert not [name for name in state if name.startswith("clip.")]
    assert sum(name.startswith("adaptation.") for name in state) == 3  # no aliases
    model = build_segmenter(load_cfg(config))
    assert sum(t.numel() for t in state.values()) == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    elsewhere = config.parent / "elsewhere.pth"
    shutil.copy(trained, elsewhere)
    cfg = load_cfg(config_dir("hclip") / "tiny.yaml", options(elsewhere))
    loaded = build_segmenter(cfg).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.slow
def test_accumulation_equals_a_large_batch(config, tmp_path):
    sgd = ["SOLVER.OPTIMIZER", "SGD", "SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "100"]
    found = []
    for size, parts in ((4, 1), (2, 2)):
        folder = tmp_path / str(parts)
        batch = ["SOLVER.IMS_PER_BATCH", str(size), "SOLVER.ACCUMULATE", str(parts)]
        run(str(config), [*sgd, *batch, "OUTPUT_DIR", str(folder)])
        found.append(weights(folder / "model_final.pth"))
    start = {n: p for n, p in build_segmenter(load_cfg(config)).state_dict().items()}
    assert any(not torch.equal(found[0][n], start[n]) for n in found[0] if "adaptation" in n)
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_learns_the_same(config, trained, dtype, tmp_path):
    amp = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", dtype]
    with WideProducts():  # a CPU takes long for those of half precision
        run(str(config), [*amp, "OUTPUT_DIR", str(tmp_path / "run")])
    half, full = weights(tmp_path / "run" / "model_final.pth"), weights(trained)
    assert all(t.dtype == torch.float32 for t in half.values())
    start = build_segmenter(load_cfg(config)).state_dict()
    name = "decoder.head.weight"
    moved, expected = half[name] - start[name], full[name] - start[name]
    cosine = torch.nn.functional.cosine_similarity(moved.flatten(), expected.flatten(), dim=0)
    assert not torch.equal(half[name], full[name]) and cosine > 0.5


@pytest.mark.slow
def test_merged_and_adapted_weights_are_not_mistaken_for_each_other(config, trained, capsys):
    merged = config.parent / "merged.safetensors"
    command = ["merge", str(config), "--weights", str(trained), "--output", str(merged)]
    assert main(command) == 0
    assert main(command) == 1
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(UserError, match="give it as MODEL.CLIP.PRETRAINED"):
        build_segmenter(load_cfg(config, options(merged)))
    with pytest.raises(UserError, match="was trained on CLIP"):  # it would be adapted twice
        build_segmenter(load_cfg(config, options(trained, "MODEL.CLIP.PRETRAINED", str(merged))))
    with pytest.raises(UserError, match="MODEL.WEIGHTS"):
        load_cfg_and_build(config, "MODEL.CLIP.PRETRAINED", str(trained))
    frozen = ["MODEL.META_ARCHITECTURE", "CATSeg", "MODEL.CATSEG.FINETUNE", "freeze"]
    plain = load_cfg_and_build(config, *frozen, "MODEL.CLIP.PRETRAINED", str(merged))
    adapted = build_segmenter(load_cfg(config, options(trained)))
    for model in (plain, adapted):
        model.set_vocabulary("red, green")
    with torch.no_grad():
        pictures = torch.randn(1, 3, 96, 96)
        ours, theirs = adapted.encode(pictures).dense, plain.encode(pictures).dense
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
        ours, theirs = adapted.text_features(), plain.text_features()
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


def load_cfg_and_build(config, *more):
    return build_segmenter(load_cfg(config, list(more)))


@pytest.mark.slow
def test_analysis_prints_and_relations_are_drawn(config, trained, capsys, tmp_path):
    chosen = [str(config), "--weights", str(trained)]
    assert main(["analyse", *chosen, "--energy"]) == 0
    assert main(["visualize", *chosen, "--output", str(tmp_path / "relations")]) == 0
    shown = capsys.readouterr().out
    assert "effective" in shown and "text tower" in shown
    rows = [line.split() for line in shown.splitlines() if len(line.split()) == 7]
    text = [row for row in rows if row[0] == "text"]
    assert text and any(row[0] == "image" for row in rows)
    for _, _, matrix, _, _, change, defect in text:
        assert float(defect) < 1e-5  # rotations whatever was learned
        assert matrix == "output" or abs(float(change)) < 1e-3  # which keep the rows' energy
    curve = tmp_path / "e.json"
    assert main(["analyse", str(trained.parent), "--curve", "--output", str(curve)]) == 0
    points = json.loads(curve.read_text())
    assert [p["steps"] for p in points if p["tower"] == "image"] == [1, 2, 3, 4, 5, 6]
    text = [p for p in points if p["tower"] == "text"]
    assert len(text) == 6 and all(p["least"] <= p["mean"] <= p["most"] for p in points)
    assert max(abs(p["mean"]) for p in text) < max(abs(p["mean"]) for p in points)
    assert min(Image.open(tmp_path / "e.png").size) > 100
    pictures = list((tmp_path / "relations").glob("*.png"))
    assert {path.name for path in pictures} == {"layers.png", "slots.png"}
    assert all(min(Image.open(path).size) > 100 for path in pictures)
