"""What is kept for visitors, for whom, how much of it, and for how long."""

import errno
import os
import subprocess

import numpy as np
import pytest

from ovs_core.errors import UserError
from ovs_core.predict.result import Result
from ovs_core.web import sessions
from ovs_core.web.attempts import Attempt
from ovs_core.web.choices import Choice
from ovs_core.web.limits import Bounds
from ovs_core.web.sessions import Visitors, plain_name

KIBI = 1024


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def forgotten():
    return []


@pytest.fixture
def visitors(tmp_path, clock, forgotten):
    bounds = Bounds(seconds=100, visitors=3, tabs=2, visitor_megabytes=0.01, megabytes=0.025,
                    memory_megabytes=0.1)  # fmt: skip
    return Visitors(tmp_path / "page", bounds, forgotten.append, clock)


def files_in(folder):
    return sum(path.is_file() for path in folder.rglob("*"))


def test_a_file_is_its_visitors_own(visitors):
    one, other = visitors.enter(), visitors.enter()
    ticket = visitors.store(one, "cat.png", b"meow")
    stored = visitors.file(one, ticket)
    assert (stored.path.read_bytes(), stored.name, stored.size) == (b"meow", "cat.png", 4)
    assert visitors.file(other, ticket) is None
    for wrong in (None, 1, "", ["x"], str(stored.path), f"../{one.folder.name}/{ticket}"):
        assert visitors.file(other, wrong) is None and visitors.file(one, wrong) is None
    assert one.folder.stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_place_of_a_file_is_not_followed(visitors, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    visitor = visitors.enter()
    ticket = visitors.store(visitor, "cat.png", b"meow")
    path = visitors.file(visitor, ticket).path
    path.unlink()
    path.symlink_to(tmp_path / "secret.png")
    assert visitors.file(visitor, ticket) is None


def test_who_is_away_is_forgotten_with_all_files(visitors, clock, forgotten, tmp_path):
    away, here = visitors.enter(), visitors.enter()
    visitors.claim(away, "tab")
    for visitor in (away, here):
        visitors.store(visitor, "cat.png", b"meow")
    clock.now = 90
    assert visitors.find(here.token) is here
    clock.now = 110
    visitors.sweep()
    assert visitors.find(away.token) is None and visitors.find(here.token) is here
    assert not away.folder.exists() and files_in(tmp_path) == 1 and forgotten == ["tab"]
    ticket = visitors.store(away, "late.png", b"meow")  # a run that was still under way
    assert visitors.file(away, ticket) is None and not away.folder.exists()


def test_the_longest_away_makes_room_and_bare_visits_go_first(visitors, clock):
    first = visitors.enter()
    visitors.store(first, "cat.png", b"meow")
    bare = []
    for clock.now in range(1, 20):
        bare.append(visitors.enter())
    assert visitors.find(first.token) is first
    known = [visitor for visitor in bare if visitors.find(visitor.token)]
    assert known == bare[-2:]
    for visitor in known:
        visitors.store(visitor, "cat.png", b"meow")
    visitors.find(first.token)
    newest = visitors.enter()
    assert visitors.find(known[0].token) is None and not known[0].folder.exists()
    assert all(visitors.find(visitor.token) for visitor in (first, known[1], newest))


def test_files_are_bounded_for_each_and_for_all(visitors, tmp_path):
    one = visitors.enter()
    tickets = [visitors.store(one, f"{n}.png", bytes(4 * KIBI)) for n in range(4)]
    assert [bool(visitors.file(one, ticket)) for ticket in tickets] == [False, False, True, True]
    large = visitors.store(one, "large.png", bytes(20 * KIBI))  # what came last is kept
    assert one.size == 20 * KIBI and visitors.file(one, large)
    other = visitors.enter()
    kept = visitors.store(other, "x.png", bytes(8 * KIBI))
    assert visitors.file(other, kept) and visitors.file(one, large) is None
    assert files_in(tmp_path) == 1


def made(pixels):
    image = np.zeros((1, pixels, 3), np.uint8)
    result = Result(np.zeros((1, pixels), np.int32), ["a"], image)
    return "cat", (Attempt(Choice("one", "one"), result),)


def test_results_are_bounded_in_memory(visitors):
    one, other = visitors.enter(), visitors.enter()
    for visitor, tab in ((one, "a"), (one, "b"), (other, "c")):
        visitors.claim(visitor, tab)
        visitors.keep(visitor, tab, made(5 * KIBI))
    held = [visitors.recall(*key) is not None for key in ((one, "a"), (one, "b"), (other, "c"))]
    assert held == [False, True, True]
    visitors.keep(other, "c", made(50 * KIBI))  # what came last is kept
    assert visitors.recall(one, "b") is None and visitors.recall(other, "c") is not None
    assert visitors.recall(one, "c") is None


def test_a_tab_belongs_to_one_visitor_and_the_oldest_goes(visitors, forgotten):
    one, other = visitors.enter(), visitors.enter()
    assert visitors.claim(one, "a") and not visitors.claim(other, "a")
    assert visitors.claim(one, "b") and visitors.claim(one, "a") and visitors.claim(one, "c")
    assert forgotten == ["b"] and list(one.tabs) == ["a", "c"]
    visitors.keep(one, "b", made(1))
    assert list(one.tabs) == ["a", "c"]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("my cat.png", "my cat.png"),
        ("../../etc/x.png", "x.png"),
        ("..\\x.png", "x.png"),
        ("", "picture"),
        ("/", "picture"),
        ("a\nb\x00\u202e.png", "ab.png"),
        ("x" * 500 + ".png", "x" * 104 + ".png"),
        ("x." + "y" * 500, "x." + "y" * 15),
    ],
)
def test_names_are_bare_and_short(name, plain):
    assert plain_name(name) == plain


@pytest.fixture(params=["a full tmpfs", "a writer that finds the disk full"])
def small_disk(request, tmp_path, monkeypatch):
    """Folder, and what makes room there. A real full disk where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "a full tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
        try:
            mounted = subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            mounted = False
        if not mounted:
            pytest.skip("this user may not mount a tmpfs; the patched writer stands for it")
        (folder / "others").write_bytes(bytes(40 * KIBI))
        yield folder, (folder / "others").unlink
        subprocess.run(["umount", str(folder)], check=True)
        return
    whole, full = sessions.atomic_write, ["full"]

    def write(path, content):
        if full and len(content) > 24 * KIBI:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        whole(path, content)

    monkeypatch.setattr(sessions, "atomic_write", write)
    yield folder, full.clear


def test_a_full_disk_loses_nothing_names_the_place_and_work_goes_on(small_disk, caplog):
    folder, make_room = small_disk
    visitors = Visitors(folder)
    visitor = visitors.enter()
    before = visitors.store(visitor, "first.png", b"meow")
    with pytest.raises(UserError) as caught:
        visitors.store(visitor, "second.png", bytes(32 * KIBI))
    said = str(caught.value)
    assert said.startswith("second.png cannot be kept in this page's folder for uploads")
    assert "No space left on device" in said and str(folder) not in said
    assert str(visitor.folder) in caplog.text and "make room" in caplog.text
    assert visitors.file(visitor, before).path.read_bytes() == b"meow"
    assert [path.name for path in visitor.folder.iterdir()] == [before]  # no half of a file
    make_room()
    ticket = visitors.store(visitor, "second.png", bytes(32 * KIBI))
    assert visitors.file(visitor, ticket).size == 32 * KIBI
