"""The views of one picture."""

import json

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from cliptrase.figures import write_similarity, write_views
from cliptrase.surgery import SurgeryScorer, SurgeryTower
from cliptrase.tower import RecoveryTower, TowerRule
from cliptrase.tower_views import global_patches, look_into
from ovs_core.clip import ImageEncoder
from ovs_core.errors import UserError
from tests.cliptrase.helpers import WORDS, build_model


def test_all_views_are_written(clip, picture, tmp_path):
    report = write_views(build_model(clip), picture, tmp_path, patch=(2, 3))
    written = {p.name for p in tmp_path.iterdir()}
    pictures = {"attention", "inter_patch", "recovery", "global_patches", "clusters", "overlay"}
    assert written == {f"{name}.png" for name in pictures} | {"report.json"}
    assert report["patch"] == [2, 3]
    assert json.loads((tmp_path / "report.json").read_text())["clusters"] == report["clusters"] > 0
    assert Image.open(tmp_path / "clusters.png").size[0] >= 3 * 100


def test_clusters_before_denoising_are_of_the_matrix_that_is_clustered(clip, picture, tmp_path):
    class Halves:
        """Says that the left half of the patches belongs together, and the right one."""

        def __call__(self, picture, dense, given):
            side = torch.arange(dense.grid[0] * dense.grid[1]) % dense.grid[1] < dense.grid[1] // 2
            return F.pad((side[:, None] == side).float(), (1, 0, 1, 0))

    tower = RecoveryTower(clip.visual, TowerRule(corr_layer=None))
    model = build_model(clip, tower=tower, mask_source=Halves())
    report = write_views(model, picture, tmp_path)
    assert report["clusters_before_denoising"] == report["clusters"] == 2


def test_words_of_clip_surgery_have_maps_and_points(clip, picture, tmp_path):
    parts = {"tower": SurgeryTower(clip.visual), "scorer": SurgeryScorer(), "regions": None}
    report = write_similarity(build_model(clip, **parts), picture, tmp_path)
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {"similarity.png", "overlay.png", "report.json"}
    assert list(report) == WORDS.split(", ")
    for points in report.values():
        assert len(points["foreground"]) == len(points["background"]) > 0
        assert all(0 <= x < 100 and 0 <= y < 70 for side in points.values() for x, y in side)
    with pytest.raises(UserError, match="METHOD clip_surgery"):
        write_similarity(build_model(clip), picture, tmp_path)


def test_a_patch_outside_is_refused(clip, picture, tmp_path):
    with pytest.raises(UserError, match="patch 9,0 is outside the 7 x 10 patches"):
        write_views(build_model(clip), picture, tmp_path, patch=(9, 0))


def test_views_are_of_the_untouched_tower(clip):
    images = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    views = look_into(build_model(clip).tower.encoder, images)
    assert len(views.attention) == 4
    assert torch.allclose(views.attention[0].sum(-1), torch.ones(50), atol=1e-5)
    ImageEncoder(clip.visual)(images)


def test_a_patch_that_all_look_at_is_global():
    attention = torch.full((26, 26), 0.02)
    attention[:, 8] = 0.5
    received, found = global_patches(attention)
    assert found == [7]
    assert received.argmax() == 7
