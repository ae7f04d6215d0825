"""A method with fixed words as one file: equal to the model, or refused with the reason."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from clipteacher.export import load_student
from ovs_core.commands import main
from ovs_core.data.embedded.vocabulary import SEMANTIC_NAMES
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.export import compare, export, load_program
from ovs_core.export.run import build_with_words
from ovs_core.methods.configs import find_config, list_configs
from ovs_core.modeling.scores import LabelScores
from ovs_core.words.vocabulary import Vocabulary

WORDS = "car|automobile, sky, tree, background: wall, background: floor"
SIZE = (64, 96)
# Clustering makes as many regions as the picture has; all else is a fixed function of the picture.
REFUSED = {"cliptrase/tiny", "cliptrase/tiny_scr_pc"}
TINY = [name for name in list_configs() if name.split("/")[1].startswith("tiny")]

# Torch's translation of a program: how CLIP is read differs from rule to rule by attention alone.
ONNX = [
    name
    for name in TINY
    if not name.startswith("cliptrase/") or name in ("cliptrase/tiny_scr", "cliptrase/tiny_naclip")
]


def config(name):
    return load_cfg(find_config(name), ["MODEL.DEVICE", "cpu"])


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_tiny_config_is_written_or_refused(name, tmp_path):
    path = tmp_path / "model.pt2"
    if name in REFUSED:
        with pytest.raises(UserError, match="regions come from clustering"):
            export(config(name), WORDS, path, size=SIZE)
        assert not list(tmp_path.iterdir())
        return
    check = export(config(name), WORDS, path, size=SIZE, with_scores=True)
    assert check.passed and check.agreement > 0.9999 and check.pictures == 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ONNX)
def test_a_config_of_every_kind_becomes_onnx(name, tmp_path):
    path = tmp_path / "model.onnx"
    check = export(config(name), WORDS, path, size=SIZE)
    assert check.passed and check.agreement > 0.999
    session = onnxruntime.InferenceSession(str(path))
    labels = session.run(None, {"picture": np.full((3, *SIZE), 90, np.float32)})[0]
    assert labels.shape == SIZE and labels.dtype == np.int64
    record = json.loads(session.get_modelmeta().custom_metadata_map["ovsuite.json"])
    assert record["names"] == ["car", "sky", "tree", "wall", "floor"]


def test_a_file_needs_neither_the_suite_nor_the_text_tower(tmp_path):
    path = tmp_path / "scr.pt2"
    check = export(config("cliptrase/tiny_scr"), WORDS, path, size=SIZE)
    assert check.passed and check.score_error is None
    extra = {"ovsuite.json": ""}
    program = torch.export.load(path, extra_files=extra)
    assert json.loads(extra["ovsuite.json"])["input"]["shape"] == [3, *SIZE]
    assert not [name for name in program.state_dict if "token_embedding" in name]
    (labels,) = program.module()(torch.zeros(3, *SIZE))
    assert labels.shape == SIZE


def test_another_program_does_not_pass(tmp_path):
    path = tmp_path / "scr.pt2"
    cfg = config("cliptrase/tiny_scr")
    export(cfg, WORDS, path, size=SIZE, with_scores=True)
    program, _ = load_program(path)
    picture = np.random.default_rng(0).uniform(0, 255, (3, *SIZE)).astype(np.float32)
    model = build_with_words(cfg, Vocabulary.parse(WORDS))
    assert compare(model, program, [picture]).passed
    wrong = compare(model, lambda x: [(program(x)[0] + 1) % 3, program(x)[1]], [picture])
    assert not wrong.passed and wrong.score_error == 0
    broken = compare(model, lambda x: [program(x)[0], program(x)[1] * np.nan], [picture])
    assert not broken.passed


class Striped:
    """A model that gives labels without scores."""

    def segment(self, picture, size):
        return LabelScores(torch.arange(size[0])[:, None].expand(size) % 3, 3)


@pytest.mark.parametrize(("turned", "passes"), [(0, True), (9, True), (11, False)])
def test_labels_without_scores_may_differ_in_one_pixel_of_a_thousand(turned, passes):
    picture = np.zeros((3, 100, 100), np.float32)
    right = Striped().segment(picture, (100, 100)).labels().numpy()
    labels = right.copy()
    labels.reshape(-1)[:turned] = (labels.reshape(-1)[:turned] + 1) % 3
    check = compare(Striped(), lambda x: [labels], [picture])
    assert check.passed is passes and "labels alone" in str(check)
    broken = compare(Striped(), lambda x: [right, np.full((3, 100, 100), np.nan)], [picture])
    assert not broken.passed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "model.bin"], "must end in .pt2"),
        (["--output", "there.pt2"], "there.pt2 exists"),
        (["--output", "there.pt2/a.pt2"], "cannot write into this folder"),
        (["--output", "a.pt2", "--size", "20x2000"], "8 times the other"),
        (["--output", "a.pt2", "--words", "car, car"], "car"),
        (["--output", "a.pth"], "CLIPtrase has no file of its own; write a .pt2 or .onnx file"),
        (["--output", "a.pth", "--scores"], "a method's own file gives labels"),
        (["--output", "a.pt2", "--pictures", "none.png"], "none.png: no such picture"),
        (["--output", "a.pt2", "--opts", "MODEL.CLIPTRASE.MTHOD", "clip"], "Did you mean"),
        (["--output", "a.pt2", "--weights", "none.pth"], "none.pth"),
        (["--output", "a.pt2", "--device", "tpu9"], "device 'tpu9' cannot be used"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pt2").write_text("mine")
    given = ["export", "cliptrase/tiny_scr", "--words", "car, sky", "--size", "64x96", *arguments]
    assert main(given) == 1
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["there.pt2"]
    assert (tmp_path / "there.pt2").read_text() == "mine"


def test_a_detector_is_no_segmenter(tmp_path):
    with pytest.raises(UserError, match="HCLIPDetector, which does not segment"):
        export(config("hclip/detection/tiny"), WORDS, tmp_path / "a.pt2", size=SIZE)


def test_a_program_needs_a_size_and_words(tmp_path, capsys):
    assert main(["export", "cliptrase/tiny_scr", "--output", str(tmp_path / "a.pt2")]) == 1
    assert "give --size HxW" in capsys.readouterr().err
    cfg = config("cliptrase/tiny_scr")
    cfg.DATASETS.TEST = ()
    with pytest.raises(UserError, match="names no DATASETS.TEST, so give --words"):
        export(cfg, None, tmp_path / "a.pt2", size=SIZE)
    assert not list(tmp_path.iterdir())


def test_without_words_the_file_knows_the_classes_of_the_test_set(tmp_path):
    path = tmp_path / "scr.pt2"
    assert export(config("cliptrase/tiny_scr"), None, path, size=SIZE).passed
    _, record = load_program(path)
    assert record["names"] == list(SEMANTIC_NAMES)


def test_fixed_text_is_that_of_the_current_words():
    model = build_with_words(config("cliptrase/tiny_scr"), Vocabulary.parse("car, sky"))
    model.fix_text()
    assert model.text_features() is model.text_features()
    model.set_vocabulary("car, sky, tree")
    assert model.text_features().shape[0] == 3


def test_a_method_may_offer_a_file_of_its_own(tmp_path, capsys):
    path = tmp_path / "student.pth"
    assert main(["export", "--method", "clipteacher/tiny", "--output", str(path)]) == 0
    assert "100.0000% of the labels agree" in capsys.readouterr().out
    student = load_student(path)
    assert student.names == SEMANTIC_NAMES and student.unseen
    assert student(torch.zeros(3, 70, 50)).shape == (70, 50)


def test_the_command_reports(tmp_path, capsys):
    given = ["--words", "car, sky", "--size", "64x96", "--output", str(tmp_path / "s.pt2")]
    assert main(["export", "clipteacher/tiny", *given]) == 0
    assert "100.0000% of the labels agree" in capsys.readouterr().out
