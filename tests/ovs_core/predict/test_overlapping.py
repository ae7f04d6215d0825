"""Labels of a raster from overlapping windows of it."""

import tracemalloc

import numpy as np
import pytest

from ovs_core.errors import UserError
from ovs_core.predict.overlapping import Windows, label_windows


def label_all(score, size, words, windows, **options):
    """The pieces put together; every pixel has to be given once."""
    labels = np.full(size, -1)
    for top, left, piece in label_windows(score, size, words, windows, **options):
        part = labels[top : top + piece.shape[0], left : left + piece.shape[1]]
        assert part.shape == piece.shape and (part == -1).all()
        part[:] = piece
    assert (labels >= 0).all()
    return labels


def seen_through(truth):
    """Scores of a method that sees what a window shows and nothing else: (K, H, W) -> score."""

    def score(box):
        top, left, height, width = box
        return truth[:, top : top + height, left : left + width]

    return score


@pytest.mark.parametrize("size", [(5, 7), (16, 16), (40, 61), (16, 50)])
@pytest.mark.parametrize("origin", [(0, 0), (3, 5)])
def test_pieces_cover_the_raster_once(size, origin):
    truth = np.random.default_rng(0).random((3, *size), np.float32)
    windows = Windows(16, 6, origin)
    assert np.array_equal(label_all(seen_through(truth), size, 3, windows), truth.argmax(0))


def test_windows_lie_inside_and_on_their_lattice():
    windows = Windows(16, 6, (0, 1))
    assert windows.starts(40, 0) == [0, 6, 12, 18, 24]
    assert windows.starts(40, 1) == [0, 1, 7, 13, 19, 24]
    assert windows.starts(10, 0) == [0]
    # A cut that begins 12 rows further down has the same windows if it says so.
    assert [s + 12 for s in Windows(16, 6, (-12, 0)).starts(28, 0)] == [12, 18, 24]


def test_the_middle_of_a_window_counts_more_than_its_border():
    """Windows that contradict each other: each pixel goes to the one that it is deeper inside."""
    size, windows = (8, 24), Windows(16, 8)

    def score(box):
        found = np.zeros((2, 8, 16), np.float32)
        found[int(box[1] > 0)] = 1
        return found

    labels = label_all(score, size, 2, windows)
    assert (labels[:, :12] == 0).all() and (labels[:, 12:] == 1).all()


def test_how_much_is_held_changes_no_label():
    """Scores that a window alone decides, as its context would."""
    size, windows = (50, 90), Windows(16, 5)

    def score(box):
        return np.random.default_rng(box).random((4, 16, 16), np.float32)

    whole = label_all(score, size, 4, windows)
    for held in (1, 4 * 4 * 16 * 30, 4 * 4 * 16 * 47):
        assert np.array_equal(label_all(score, size, 4, windows, max_bytes=held), whole)


def test_memory_is_that_of_one_row_of_windows():
    held = 4 * 2**20

    def most(size):
        tracemalloc.start()
        for _ in label_windows(lambda box: None, size, 8, Windows(256, 256), held):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    low, high = most((512, 2048)), most((1024, 8192))
    assert high < 1.02 * low and low < 2 * held


def test_steps_that_make_no_sense():
    for step in (0, 17):
        with pytest.raises(UserError, match=f"step {step}: is from 1 to the side of a window, 16"):
            Windows(16, step)
