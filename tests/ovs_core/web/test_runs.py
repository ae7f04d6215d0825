"""Runs: told step by step, worked off in turn, and stopped where they are."""

import threading

import pytest
import torch

from ovs_core.web import room as room_module
from ovs_core.web.choices import Choice
from ovs_core.web.room import ModelRoom
from ovs_core.web.runs import WAITING, Run, Runs, Stopped
from ovs_core.words.vocabulary import Vocabulary

PATIENCE = 30  # seconds; only a hang takes as long
CHOICE = Choice("one/tiny", "one/tiny")


@pytest.fixture
def runs():
    runs = Runs()
    yield runs
    runs.close()


class Busy:
    """Work that lasts until it is allowed to end, or is stopped."""

    def __init__(self):
        self.begun, self.go_on, self.ended = (threading.Event() for _ in range(3))

    def __call__(self, run):
        run.enter("busy")
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        run.enter("almost done")
        self.ended.set()


def test_every_step_is_told(runs):
    def work(run):
        for state in ("one", "two"):
            run.enter(state)
        run.add("made")

    with runs.start("tab", work) as run:
        assert run.state in (WAITING, "one", "two")
        for _ in run:
            pass
        assert (run.state, run.attempts, run.error) == ("two", ("made",), "")


def test_runs_of_all_tabs_come_in_turn(runs):
    first, second = Busy(), Busy()
    with runs.start("a", first), runs.start("b", second) as waiting:
        assert first.begun.wait(PATIENCE)
        assert waiting.state == WAITING and not second.begun.is_set()
        first.go_on.set()
        assert second.begun.wait(PATIENCE) and first.ended.is_set()
        second.go_on.set()


def test_a_stopped_run_ends_at_once_for_the_visitor_and_at_its_next_step_for_the_machine(runs):
    busy, after = Busy(), threading.Event()
    with runs.start("tab", busy) as run:
        assert busy.begun.wait(PATIENCE)
        runs.stop("tab", run.token)
        for _ in run:  # ends although the work goes on
            pass
        assert run.stopped
    with runs.start("tab", lambda run: after.set()) as run:
        busy.go_on.set()
        assert after.wait(PATIENCE)
        for _ in run:
            pass
    assert not busy.ended.is_set()


def test_a_run_that_is_stopped_while_it_waits_never_begins(runs):
    first, second, third = Busy(), Busy(), Busy()
    with runs.start("tab", first):
        with runs.start("tab", second) as run:
            runs.stop("tab", run.token)
        with runs.start("tab", third):
            first.go_on.set()
            assert third.begun.wait(PATIENCE) and not second.begun.is_set()
            third.go_on.set()


def test_only_its_own_tab_stops_a_run(runs):
    busy = Busy()
    with runs.start("tab", busy) as run:
        for tab, token in (("other", run.token), ("tab", "x"), ("tab", None), ("tab", ["x"])):
            runs.stop(tab, token)
        assert not run.stopped
        busy.go_on.set()
        for _ in run:
            pass
    assert busy.ended.is_set()
    runs.stop("tab", run.token)  # it is over: no error


def test_what_breaks_is_told_without_its_reason(runs, caplog):
    with runs.start("tab", lambda run: 1 / 0) as run:
        for _ in run:
            pass
    assert run.error == "failed; the terminal shows where" and "ZeroDivisionError" in caplog.text


def test_closing_ends_all(runs):
    busy = Busy()
    with runs.start("tab", busy) as run:
        assert busy.begun.wait(PATIENCE)
        runs.close()
        for _ in run:
            pass
        busy.go_on.set()
    with pytest.raises(RuntimeError), runs.start("tab", busy):
        pass


class Deep(torch.nn.Module):
    """As slow as it has layers; another thread may use it too."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(*[torch.nn.Identity() for _ in range(50)])
        self.passed = 0
        self.at_ten = threading.Event()
        self.go_on = threading.Event()

    @classmethod
    def from_config(cls, config, **_):
        return cls()

    def __call__(self, image, words):
        for layer in self.layers:
            layer(torch.zeros(1))
            self.passed += 1
            if self.passed == 10:
                self.at_ten.set()
                assert self.go_on.wait(PATIENCE)
        return None


def test_a_model_is_left_at_its_next_layer(monkeypatch):
    monkeypatch.setattr(room_module, "Predictor", Deep)
    room, run, words = ModelRoom([CHOICE]), Run(), Vocabulary.parse("a")
    model, outcome = room._predictor(CHOICE), []

    def segment():
        try:
            room.segment(CHOICE, None, words, run)
        except Stopped as stopped:
            outcome.append(stopped)

    thread = threading.Thread(target=segment)
    thread.start()
    assert model.at_ten.wait(PATIENCE)
    run.stop()
    torch.nn.Identity()(torch.zeros(1))  # of another thread: goes on
    model.go_on.set()
    thread.join(PATIENCE)
    assert len(outcome) == 1 and model.passed == 10
    assert room.segment(CHOICE, None, words).error == "" and model.passed == 60
