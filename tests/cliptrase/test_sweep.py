"""The grid of DBSCAN's values with one encoding per picture, and the count of operations."""

import json

import pytest
import torch
from PIL import Image

from cliptrase.flops import count
from cliptrase.regions import RegionRule
from cliptrase.sweep import regrouped, sweep
from cliptrase.tower import RecoveryTower, TowerRule
from ovs_core.commands import main
from ovs_core.errors import UserError
from tests.cliptrase.helpers import build_model


def labels(model, encoded):
    return model.postprocess(model.score_picture(encoded, (70, 100)))["sem_seg_labels"]


def test_an_encoded_picture_is_grouped_anew_as_if_it_had_been_so_at_first(clip, picture):
    first = build_model(clip)
    (encoded,) = first.encode_pictures([picture])
    before = labels(first, encoded)
    for rule in (RegionRule(0.3, 2), RegionRule(0.9, 4), RegionRule(0.5, 3, target="features")):
        other = build_model(clip, regions=rule)
        (wanted,) = other.encode_pictures([picture])
        found = regrouped(encoded, rule)
        assert torch.equal(found.regions.labels, wanted.regions.labels)
        assert torch.equal(labels(first, found), labels(other, wanted))
    assert torch.equal(labels(first, encoded), before)


def test_a_picture_goes_through_the_tower_once_for_the_whole_grid(clip, picture, monkeypatch):
    model = build_model(clip)
    seen = []
    monkeypatch.setattr(
        type(model), "encode", lambda self, images: seen.append(1) or self.tower(images)
    )

    class Evaluator:
        def __init__(self):
            self.found = []

        def process(self, inputs, outputs):
            self.found += outputs

        def gather(self):
            return [torch.eye(6).numpy()]

        def summary(self, figures, counts):
            return {"mIoU": 100.0 * len(self.found)}

    evaluators = [Evaluator() for _ in range(4)]
    cells = [(0.3, 2), (0.3, 3), (0.9, 2), (0.9, 3)]
    samples = [{"image": picture}, {"image": picture.flip(2)}]
    assert sweep(model, samples, cells, evaluators) == [200.0] * 4
    assert len(seen) == 2


def test_models_that_cluster_nothing_of_their_own_are_refused(clip):
    with pytest.raises(UserError, match="need METHOD cliptrase"):
        sweep(build_model(clip, regions=None), [], [], [])


def test_the_command_writes_the_grid(tmp_path, capsys):
    grid = tmp_path / "grid.json"
    line = ["--eps", "0.4,0.7", "--min-samples", "2", "--samples", "2", "--output", str(grid)]
    assert main(["analyse", "cliptrase/tiny", *line]) == 0
    assert "mIoU by eps" in capsys.readouterr().out
    written = json.loads(grid.read_text())
    assert written["pictures"] == 2 and len(written["grid"]) == 2
    assert min(Image.open(tmp_path / "grid.png").size) > 100
    assert written["grid"][0]["mIoU"] != written["grid"][1]["mIoU"]
    for wrong in ("0,1", "a", ""):
        assert main(["analyse", "cliptrase/tiny", "--eps", wrong]) == 2


def test_modules_cost_as_their_products_do(clip, capsys):
    picture = torch.zeros(3, 56, 56)
    rule = TowerRule(attention="vanilla", corr_layer=None)
    plain = build_model(clip, regions=None, tower=RecoveryTower(clip.visual, rule))
    tokens, width, layers, words = 50, 32, 4, 5
    block = 12 * width**2 * tokens + 2 * tokens**2 * width
    tower = 3 * 8 * 8 * width * 49 + layers * block + width * 24 * tokens + 24 * words * 49
    assert count(plain, picture) == pytest.approx(2 * tower, rel=1e-3)
    assert count(build_model(clip), picture) > count(plain, picture)
    assert main(["analyse", "cliptrase/tiny", "--flops"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    relative = [float(row[-2]) for row in rows]
    assert relative[0] == 1 and relative == sorted(relative) and len(relative) == 4
    assert [float(row[-1]) for row in rows] == [1, 1.2, 1.9, 2]
