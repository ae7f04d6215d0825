"""A program whose words come when it runs: equal to the model, or refused with the reason."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from ovs_core.clip.positions import PositionRule
from ovs_core.commands import main
from ovs_core.data.embedded.scenes import render_scene
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.export import load_open_program, load_program
from ovs_core.export.check import TOLERANCE
from ovs_core.export.open_program import trace_open
from ovs_core.export.run import build_with_words
from ovs_core.methods.configs import find_config, list_configs
from ovs_core.modeling.open_words import OpenWords, strip_labels
from ovs_core.modeling.scores import GridScores
from ovs_core.tensor.resampling import cubic_matrix, resize_linear, smooth_cubic_matrix
from ovs_core.words.vocabulary import Vocabulary

WORDS = "car, sky, tree, wall, floor"
REFUSED = {
    "cliptrase/tiny": "regions come from clustering",
    "cliptrase/tiny_scr_pc": "regions come from clustering",
}
TINY = [name for name in list_configs() if name.split("/")[1].startswith("tiny")]
SIZE = (96, 128)
ROOT = Path(__file__).parents[2]


def build(name, words=WORDS, *opts):
    cfg = load_cfg(find_config(name), ["MODEL.DEVICE", "cpu", *opts])
    return build_with_words(cfg, Vocabulary.parse(words))


def scenes(size, count=2):
    shown = [render_scene(seed, size).image.transpose(2, 0, 1) for seed in range(count)]
    return torch.from_numpy(np.stack(shown)).float()


@torch.no_grad()
def opened(model, pictures, size):
    """Labels with embeddings from outside, while the model itself has other words."""
    words = OpenWords(model.open_embeddings(), model.open_seen())
    kept = model.vocabulary
    model.set_vocabulary("something, else")
    model.open_words = words
    try:
        return model.open_labels(pictures, size)
    finally:
        model.open_words = None
        model.set_vocabulary(kept)


@pytest.mark.parametrize("name", TINY)
def test_every_method_labels_with_words_from_outside_or_says_why_not(name):
    model = build(name)
    if name in REFUSED:
        assert REFUSED[name] in model.open_obstacle()
        return
    assert not model.open_obstacle()
    pictures, size = scenes(SIZE), (100, 150)
    labels = opened(model, pictures, size)
    assert labels.shape == (2, *size) and labels.dtype == torch.int64
    for own, picture in zip(labels, pictures, strict=True):
        with torch.no_grad():
            scores = model.segment(picture, size)
        assert (own == scores.labels()).float().mean() > 0.99
        maps = scores.full()
        lost = maps.amax(0) - maps.gather(0, own[None])[0]  # by a tie that rounding has turned
        assert lost.max() <= TOLERANCE * (maps.max() - maps.min())


@pytest.mark.parametrize("size", [(3, 5), (33, 70), (161, 97)])
def test_strips_give_the_labels_of_the_whole_map(size):
    grid = torch.randn(2, 7, 9, 6, generator=torch.Generator().manual_seed(0))
    whole = torch.stack([GridScores(one, size).labels() for one in grid])
    assert torch.equal(strip_labels(grid, size), whole)
    padded = [GridScores(one, size, canvas=(72, 48), valid=(65, 47)).labels() for one in grid]
    found = strip_labels(grid, size, canvas=(72, 48), valid=(65, 47))
    assert (found == torch.stack(padded)).float().mean() > 0.999  # a tie may turn by rounding


@pytest.mark.parametrize(("old", "new"), [((14, 14), (9, 23)), ((7, 12), (7, 30))])
def test_resizes_by_matrices_are_those_of_pytorch(old, new):
    maps = torch.randn(1, 3, *old, generator=torch.Generator().manual_seed(0))
    interpolate = torch.nn.functional.interpolate
    torch.testing.assert_close(resize_linear(maps, new), interpolate(maps, new, mode="bilinear"))
    for matrix, smooth in ((cubic_matrix, False), (smooth_cubic_matrix, True)):
        rows, columns = (matrix(n, m, like=maps) for n, m in zip(new, old, strict=True))
        expected = interpolate(maps, new, mode="bicubic", antialias=smooth)
        torch.testing.assert_close(rows @ maps @ columns.T, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_positions_of_a_grid_that_comes_later_are_those_of_one_that_is_known(offset):
    table = torch.randn(1 + 49, 8, generator=torch.Generator().manual_seed(0))
    rule = PositionRule(offset=offset)
    for grid in ((5, 11), (14, 9)):
        found = rule._later(table, (7, 7), grid)
        torch.testing.assert_close(found, rule(table, (7, 7), grid), atol=1e-4, rtol=1e-4)


def test_a_class_of_several_texts_is_refused_where_the_best_one_counts():
    with pytest.raises(UserError, match="'car' has 2 texts"):
        build("maftplus/tiny", "car|automobile, sky").open_embeddings()


@pytest.mark.slow
def test_one_file_takes_other_words_and_sizes(tmp_path, capsys):
    path, other = tmp_path / "open.pt2", tmp_path / "other.safetensors"
    method = ["export", "cliptrase/tiny_scr", "--open"]
    given = ["--words", "car, sky, background: wall, background: floor", "--output", str(path)]
    assert main([*method, *given]) == 0
    assert capsys.readouterr().out.count("of the labels agree") == 4
    assert main([*method, "--words", "tree, sand", "--output", str(other)]) == 0
    program, record = load_open_program(path)
    assert [one["name"] for one in record["inputs"]] == ["pictures", "embeddings", "size"]
    with safe_open(tmp_path / "open.safetensors", "np") as file:
        assert file.get_tensor("classes").tolist() == [0, 1, 2, 2]
        assert json.loads(file.metadata()["names"]) == ["car", "sky", "wall", "floor"]
        assert file.metadata()["text_tower"] == record["text_tower"]
    with safe_open(other, "np") as file:
        embeddings = file.get_tensor("embeddings")
    pictures = scenes((80, 60), 3)
    inputs = {"pictures": pictures.numpy(), "embeddings": embeddings, "size": np.array([90, 61])}
    labels = program(inputs)
    model = build("cliptrase/tiny_scr", "tree, sand")
    with torch.no_grad():
        expected = [model.segment(one, (90, 61)).labels().numpy() for one in pictures]
    assert (labels == np.stack(expected)).mean() > 0.999
    with pytest.raises(UserError, match="written with --open"):
        load_program(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "a.pth"], "must end in .pt2"),
        (["--output", "a.pt2", "--scores"], "gives labels alone"),
        (["--output", "there.pt2"], "there.safetensors exists"),
        (["--output", "a.pt2", "--opts", "MODEL.CLIPTRASE.CLUSTER.ENABLED", "True"], "clustering"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.safetensors").write_text("mine")
    given = ["export", "cliptrase/tiny_scr", "--open", "--words", "car, sky", *arguments]
    assert main(given) == 1
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["there.safetensors"]


def documented():
    """Config -> whether the table of GETTING_STARTED.md says that its words can come later."""
    lines = (ROOT / "GETTING_STARTED.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| config | `.pt2`"))
    column = [cell.strip() for cell in lines[start].split("|")].index("`--open`")
    rows = [line.split("|") for line in lines[start + 2 :]]
    listed = rows[: next(i for i, row in enumerate(rows) if len(row) < 2)]
    return {row[1].strip(" `"): row[column].strip() == "yes" for row in listed}


def test_the_documents_say_whose_words_can_come_later():
    stated = documented()
    assert set(TINY) <= set(stated)
    assert {name for name in TINY if not stated[name]} == set(REFUSED) & set(TINY)


@pytest.mark.slow
def test_a_padding_that_follows_from_the_size_needs_a_size():
    model = build("clipteacher/tiny")
    with pytest.raises(UserError, match="padded follows from its size.*give --size HxW"):
        trace_open(model, None)
