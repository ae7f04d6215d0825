"""The examples that the help shows run as they stand."""

import re
import shlex
from email.message import Message

import pytest
from PIL import Image

from ovs_core.commands import load_command, main
from ovs_core.commands.offered import OFFERED, load_offer, offering

OFFERS = [(name, project) for name in OFFERED for project in offering(name)]
QUICK = ("segment", "methods", "doctor", "prepare")
REAL = "ovsuite tables cliptrase 7"  # on a real CLIP, which is not everywhere
SLOW = ("check-dataset", "claims", "compare", "evaluate", "train", "tables", "benchmark")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_examples(user, capsys, name):
    said = ""
    for line in load_command(name).EXAMPLES:
        program, *arguments = shlex.split(line)
        assert program == "ovsuite"
        code, shown = main(arguments), capsys.readouterr()
        said += shown.out
        assert code == 0 or (line.startswith(REAL) and "not run:" in shown.out), shown.err
    if name not in ("evaluate", "train"):  # their words go to the log of the first run's process
        assert said
    if name == "compare":
        assert Image.open(user / "output" / "compare" / "sheet.png").width > 900
        assert "mIoU" in (user / "output" / "table" / "table.md").read_text()
    if name == "train":
        assert (user / "output" / "hclip_tiny" / "model_final.pth").is_file()
        assert main(["segment", "photo.jpg", "--words", "car, sky", "--method",
                     "output/hclip_tiny", "--output", "trained"]) == 0  # fmt: skip
        assert "mean nothing" not in capsys.readouterr().err
        for line in load_command("export-weights").EXAMPLES:  # shares what was trained
            assert main(shlex.split(line)[1:]) == 0, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "project"), OFFERS)
def test_examples_of_what_projects_offer(user, capsys, name, project):
    lines = load_offer(name, project).EXAMPLES
    for trained in set(re.findall(r"output/(\w+)_tiny", " ".join(lines))):
        assert main(["train", f"{trained}/tiny", "--device", "cpu", "SOLVER.MAX_ITER", "1",
                     "SOLVER.IMS_PER_BATCH", "2", "DATASETS.TEST", "()"]) == 0  # fmt: skip
    for line in lines:
        capsys.readouterr()
        assert main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
        shown = capsys.readouterr().out
        assert shown
        if name == "visualize":
            assert (user / shown.splitlines()[-1].split(": ")[0]).exists()


def test_doctor_says_what_is_there_and_what_is_not(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "none"))
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path))
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "detectron2" in shown.lower() and "embedded-vit" in shown
    assert "which does not exist" in shown and "voc_20" in shown
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "file"))
    assert main(["doctor"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_doctor_names_each_extra_once(monkeypatch):
    from importlib import metadata

    from ovs_core.reports import doctor

    requirements = [
        "torch>=2", "no-such-package; extra == 'sam'", "ovsuite[sam]; extra == 'dev'"
    ]  # fmt: skip
    extras = Message()
    extras["Provides-Extra"] = "sam"
    extras["Provides-Extra"] = "dev"
    monkeypatch.setattr(metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(metadata, "metadata", lambda name: extras)
    (finding,) = doctor.find_extras()
    assert finding.text == "sam: missing no-such-package"
    assert finding.mend == "pip install -e '.[sam]'"


def test_doctor_without_detectron2(capsys, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "detectron2" else find(name)
    )
    assert main(["doctor"]) == 1
    assert "mend: python tools/install_detectron2.py" in capsys.readouterr().out


def test_comparing_wrongly(user, capsys):
    methods = ["--methods", "cliptrase/tiny", "cliptrase/tiny"]
    assert main(["compare", "pictures", *methods, "--words", "car"]) == 1
    assert "names cliptrase/tiny more than once" in capsys.readouterr().err
    assert main(["compare", "pictures", "--methods", "cliptrase/tiny"]) == 1
    assert "pictures need --words" in capsys.readouterr().err
