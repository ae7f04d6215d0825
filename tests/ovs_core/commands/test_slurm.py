"""Arrays of trainings that are handed to a cluster."""

import signal
import sys
from types import SimpleNamespace

import pytest

from ovs_core import commands
from ovs_core.commands import main, parse
from ovs_core.commands.slurm import Training, command_lines, read_array

RUNS = """\
parameters: {timeout_min: 10}
runs:
  - {OUTPUT_DIR: output/zero, SEED: 0}
  - {OUTPUT_DIR: output/one, SEED: 1, config: sptseg/tiny}
"""
LINE = ["train", "--config-file", "hclip/tiny", "--device", "cpu", "SOLVER.MAX_ITER", "1"]


@pytest.fixture
def submitted(monkeypatch):
    """Stands in for submitit: what was submitted, with which parameters."""
    found = SimpleNamespace(jobs=[], parameters={})

    class Executor:
        def __init__(self, folder, cluster):
            found.cluster = cluster

        def update_parameters(self, **parameters):
            if "gpus" in parameters:
                raise NameError("Unknown argument 'gpus'")
            found.parameters = parameters

        def batch(self):
            return pytest.MonkeyPatch.context()

        def submit(self, job):
            found.jobs.append(job)
            return SimpleNamespace(job_id="7_0", paths=SimpleNamespace(stdout="7_0_log.out"))

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=Executor))
    return found


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write the file of an array."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs.yaml"
    path.write_text(RUNS)
    return path


def test_every_run_is_a_line_that_can_be_parsed(file):
    lines = command_lines(parse([*LINE, "--slurm", str(file)]), read_array(file))
    first, second = (parse(line) for line in lines)
    assert (first.method, second.method) == ("hclip/tiny", "sptseg/tiny")
    assert first.resume and second.resume and first.device == "cpu"
    assert second.opts == ["SOLVER.MAX_ITER", "1", "OUTPUT_DIR", "output/one", "SEED", "1"]


def test_an_array_is_submitted_once_all_is_checked(file, submitted, capsys):
    assert main([*LINE, "--slurm", str(file)]) == 0
    assert (submitted.cluster, submitted.parameters) == ("slurm", {"timeout_min": 10})
    assert [job.line[job.line.index("OUTPUT_DIR") + 1] for job in submitted.jobs] == [
        "output/zero", "output/one"
    ]  # fmt: skip
    assert "job 7_0  7_0_log.out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runs: []", "runs must be a list of maps"),
        ("run: [{SEED: 0}]", "key: 'run' is unknown. Did you mean 'runs'?"),
        (RUNS + "cluster: slrum\n", "cluster: 'slrum' is unknown. Did you mean 'slurm'?"),
        (RUNS.replace("output/one", "output/zero"), "runs 0 and 1 write to output/zero"),
        (RUNS.replace("SEED: 1", "SEEDS: 1"), "unknown key 'SEEDS'"),
        (RUNS.replace("{timeout_min: 10}", "{gpus: 1}"), "Unknown argument 'gpus'"),
        (RUNS.replace("{timeout_min: 10}", "{tasks_per_node: 3}"), "cannot be split over 3"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_submitted(file, submitted, capsys, text, said):
    file.write_text(text)
    assert main([*LINE, "--slurm", str(file)]) == 1
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1 and not submitted.jobs


def test_a_folder_that_holds_a_run(file, submitted, capsys, tmp_path):
    (tmp_path / "output" / "one").mkdir(parents=True)
    (tmp_path / "output" / "one" / "model_final.pth").write_bytes(b"")
    assert main([*LINE, "--slurm", str(file)]) == 1
    assert "output/one: holds a run already" in capsys.readouterr().err and not submitted.jobs
    assert main([*LINE, "--slurm", str(file), "--resume"]) == 0


def test_without_submitit_the_extra_is_named(file, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main([*LINE, "--slurm", str(file)]) == 1
    assert "pip install -e '.[slurm]'" in capsys.readouterr().err


def test_a_job_that_is_taken_back_asks_for_itself_again(monkeypatch):
    asked = []
    before = signal.signal(signal.SIGUSR2, lambda *_: asked.append(True))
    try:
        monkeypatch.setattr(commands, "main", lambda line: sys.exit(128 + signal.SIGUSR2))
        Training(LINE)()
        assert asked == [True]
    finally:
        signal.signal(signal.SIGUSR2, before)
    monkeypatch.setattr(commands, "main", lambda line: sys.exit(143))
    with pytest.raises(SystemExit):
        Training(LINE)()
    monkeypatch.setattr(commands, "main", lambda line: 1)
    with pytest.raises(RuntimeError, match="exit code 1"):
        Training(LINE)()


@pytest.mark.slow
def test_jobs_of_this_machine(file, tmp_path, capsys):
    pytest.importorskip("submitit")
    runs = "  - {OUTPUT_DIR: output/zero, SEED: 0, DATASETS.TEST: ()}\n"
    file.write_text(f"cluster: local\nparameters: {{timeout_min: 10}}\nruns:\n{runs}")
    assert main([*LINE, "--slurm", str(file)]) == 0
    assert (tmp_path / "output" / "zero" / "model_final.pth").is_file()
