"""Evaluation on Ray: counts of blocks add up to the figures of one process, bit by bit."""

import contextlib
import json
import pickle

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ovs_core.commands import main
from ovs_core.data.embedded.scenes import render_scene
from ovs_core.errors import UserError
from ovs_core.evaluation.contract import Evaluator
from ovs_core.evaluation.instance import OVSInstanceEvaluator
from ovs_core.evaluation.mask_ap import OVSMaskAPEvaluator
from ovs_core.evaluation.panoptic import OVSPanopticEvaluator
from ovs_core.evaluation.semantic import OVSSemSegEvaluator
from ovs_core.predict import ray_cluster, ray_evaluation
from ovs_core.predict.ray_cluster import Seat
from ovs_core.predict.ray_evaluation import CountingWorker, Evaluation

WORDS = {"near_val": ["car", "sky", "tree"], "far_val": ["fish", "wall", "sand", "bell"]}
METHOD = "cliptrase/tiny_maskclip"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two datasets with words of their own, and what one process finds."""
    folder = tmp_path_factory.mktemp("world")
    stanzas = {}
    for number, (name, words) in enumerate(WORDS.items()):
        stanzas[name] = {"images": f"{name}/images", "labels": f"{name}/labels", "names": words}
        for kind in ("images", "labels"):
            (folder / name / kind).mkdir(parents=True)
        for i in range(5 - number):
            scene = render_scene(10 * number + i, (48, 64))
            Image.fromarray(scene.image).save(folder / name / "images" / f"{i}.png")
            labels = (scene.semantic % len(words)).astype(np.uint8)
            Image.fromarray(labels).save(folder / name / "labels" / f"{i}.png")
    (folder / "own.yaml").write_text(yaml.safe_dump(stanzas))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OVSUITE_CACHE", str(folder / "cache"))
        threads = torch.get_num_threads()
        assert main(line("plain")) == 0
        torch.set_num_threads(threads)
        yield folder
        torch.set_num_threads(threads)


def line(output, *more):
    pairs = ["DATASETS.YAML", "('own.yaml',)", "DATASETS.TEST", str(tuple(WORDS)),
             "TEST.IMS_PER_BATCH", "2"]  # fmt: skip
    return ["evaluate", METHOD, "--device", "cpu", "--output", output, *more, *pairs]


def written(folder):
    """All result files, less the day on which they were written."""
    files = sorted((folder / "inference").rglob("*.json"))
    found = {str(p.relative_to(folder)): json.loads(p.read_text()) for p in files}
    assert len(found) == len(WORDS)
    return [{key: found[name][key] for key in found[name] if key != "date"} for name in found]


@pytest.fixture
def here(monkeypatch, world):
    """Two actors in this process that take blocks in turns, the last one first."""
    blocks = []

    def ask(actor, work, texts, resources, device):
        crew = [actor(work, Seat(str(world), 2, 1)) for _ in range(2)]
        blocks[:] = map(json.loads, texts)
        for number in reversed(range(len(texts))):
            row = {"number": np.array([str(number)]), "block": np.array([texts[number]])}
            (said,) = crew[number % 2](row)["answer"]
            said = json.loads(said)
            if "refusal" in said:
                raise UserError(said["refusal"])
            yield number, said

    monkeypatch.setattr(ray_evaluation, "ask", ask)
    monkeypatch.setattr(ray_evaluation, "connected", lambda address: contextlib.nullcontext())
    monkeypatch.setattr(ray_cluster, "check_ray", lambda: None)
    return blocks


def test_figures_are_those_of_one_process(world, here):
    assert main(line("blocks", "--engine", "ray", "--block", "1")) == 0
    assert here == [
        ["near_val", 0, 2], ["near_val", 2, 4], ["near_val", 4, 5],
        ["far_val", 0, 2], ["far_val", 2, 4],
    ]  # fmt: skip
    assert written(world / "blocks") == written(world / "plain")


def test_a_lost_block_gives_no_figures(world, here, monkeypatch, capsys):
    ask = ray_evaluation.ask
    monkeypatch.setattr(ray_evaluation, "ask", lambda *given: list(ask(*given))[1:])
    assert main(line("lost", "--engine", "ray")) == 1
    assert "1 of 2 blocks were lost" in capsys.readouterr().err
    assert not list((world / "lost").rglob("*.json"))


def test_what_is_no_sum_is_refused_before_ray_starts(world, monkeypatch, capsys):
    for kind in (OVSPanopticEvaluator, OVSInstanceEvaluator, OVSMaskAPEvaluator):
        assert kind.counted is Evaluator.counted
    monkeypatch.setattr(OVSSemSegEvaluator, "counted", Evaluator.counted)
    monkeypatch.setattr(ray_cluster, "check_ray", lambda: None)
    monkeypatch.setattr(ray_evaluation, "connected", lambda address: pytest.fail("Ray is started"))
    assert main(line("none", "--engine", "ray")) == 1
    assert "near_val: OVSSemSegEvaluator looks at all pictures" in capsys.readouterr().err
    assert main(line("none", "--engine", "ray", "--opts", "TEST.DUMP_PREDICTIONS", "True")) == 1
    assert "DUMP_PREDICTIONS goes with --engine loop" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--workers", "2"], "--workers needs --engine ray"),
        (["--engine", "ray", "--num-gpus", "2"], "shares the pictures itself"),
        (["--engine", "ray"], "evaluates alone; a training takes --num-gpus"),
    ],
)
def test_options_that_do_not_go_together_are_refused(world, capsys, more, said):
    if more[-1] == "ray":
        assert main(["train", *line("unused", *more)[1:]]) != 0
        assert said in capsys.readouterr().err
        return
    assert main(line("unused", *more)) != 0
    assert said in capsys.readouterr().err and not (world / "unused").exists()


def test_a_block_that_ends_its_process_ends_the_run_at_its_third_try(world):
    folder = world / "tries"
    folder.mkdir()
    pairs = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(folder)]
    row = {"number": np.array(["3"]), "block": np.array(['["near_val", 64, 128]'])}
    one = CountingWorker(Evaluation(METHOD, pairs), Seat(str(world), 1, 1))
    for _ in range(2):  # what is left of processes that were killed
        assert ray_cluster.may_try(folder, 3)
    (said,) = one(row)["answer"]
    assert "near_val: the process that counted pictures 65 to 128 ended 2 times" in said
    ray_cluster.forget_tries(folder)
    assert not list(folder.iterdir())


def test_an_actor_says_why_it_cannot(world):
    row = {"number": np.array(["0"]), "block": np.array(['["gone_val", 0, 2]'])}
    for work, why in (
        (Evaluation("no/such"), "no/such"),
        (Evaluation(METHOD, ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(world)]), "gone_val"),
    ):
        (said,) = CountingWorker(work, Seat(str(world), 1, 1))(row)["answer"]
        assert why in json.loads(said)["refusal"]


def test_what_actors_are_told_goes_between_processes():
    """As Ray does it; ``test_ray.py`` starts Ray itself, with actors that are asked in one way."""
    told = (CountingWorker, Evaluation(METHOD, ["SEED", "3"], True), Seat("/here", 2, 1, "9"))
    assert pickle.loads(pickle.dumps(told)) == told
