"""Colours of words: far apart for all eyes, and alike from one vocabulary to the next."""

import numpy as np
import pytest
from matplotlib import colormaps

from ovs_core.draw.colors import VOID_COLOR, palette, word_color
from ovs_core.draw.vision import DEUTERANOPIA, PROTANOPIA, oklab, separation

MOST = 512  # colours that there are


def closest(colors):
    apart = separation(colors, colors)
    return apart[~np.eye(len(colors), dtype=bool)].min()


def allowed():
    """All colours of which a palette is made."""
    return np.unique(palette(words(1000)), axis=0)


def words(count):
    return [f"word {number}" for number in range(count)]


def test_oklab_is_that_of_its_author():
    white, black, red = oklab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    assert white == pytest.approx([1, 0, 0], abs=1e-4) and black == pytest.approx([0, 0, 0])
    assert red == pytest.approx([0.6280, 0.2249, 0.1258], abs=1e-3)


def test_who_lacks_a_kind_of_cones_confuses_red_and_green_but_not_blue_and_yellow():
    red, green, blue, yellow = np.array(
        [[200, 60, 0], [100, 125, 0], [0, 0, 255], [255, 255, 0]], np.uint8
    )
    usual = np.linalg.norm(oklab(red) - oklab(green))
    for kind in (PROTANOPIA, DEUTERANOPIA):
        assert np.linalg.norm(oklab(red, kind) - oklab(green, kind)) < 0.6 * usual
        assert np.linalg.norm(oklab(blue, kind) - oklab(yellow, kind)) > 0.5
        grey = oklab(np.array([90, 90, 90], np.uint8), kind)
        assert grey == pytest.approx(oklab(np.array([90, 90, 90], np.uint8)), abs=2e-3)


@pytest.mark.parametrize(
    ("count", "apart"), [(2, 0.6), (4, 0.3), (8, 0.17), (12, 0.12), (24, 0.07)]
)
def test_colours_are_further_apart_than_chance_and_known_palettes_have_them(count, apart):
    found = closest(palette(words(count)))
    assert found > apart
    rng = np.random.default_rng(count)
    assert found > max(closest(rng.choice(allowed(), count, replace=False)) for _ in range(200))
    for name in ("tab10", "Set1", "Dark2"):
        known = (255 * np.array(colormaps[name].colors)).astype(np.uint8)
        assert count > len(known) or found > closest(known[:count])


def test_no_single_exchange_would_help():
    colors = palette(words(6))
    apart = separation(colors, colors) + 2 * np.eye(6)
    for place in np.unravel_index(apart.argmin(), apart.shape):
        rest = np.delete(colors, place, axis=0)
        assert separation(allowed(), rest).min(axis=1).max() <= apart.min() + 1e-6


def test_colours_do_not_hang_on_the_order_of_the_words():
    names = ["sky", "grass", "cat", "wall", "sofa"]
    there, back = palette(names), palette(names[::-1])
    assert np.array_equal(there, back[::-1])
    assert np.array_equal(there, palette([name.upper() for name in names]))


def test_each_word_stays_near_its_own_colour():
    """Nearer than if the same colours were dealt out in another order."""
    names = words(12)
    colors = palette(names)
    own = oklab(np.array([word_color(name) for name in names], np.uint8))
    cost = np.linalg.norm(own - oklab(colors), axis=1).sum()
    rng = np.random.default_rng(0)
    for _ in range(200):
        other = oklab(colors[rng.permutation(12)])
        assert cost <= np.linalg.norm(own - other, axis=1).sum() + 1e-9


@pytest.mark.parametrize("count", [0, 1, 150, 1300])
def test_any_number_of_words(count):
    colors = palette(words(count))
    assert colors.shape == (count, 3) and colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == min(count, MOST)
    if count:  # none is taken for that of pixels without a name
        assert separation(colors, np.array([VOID_COLOR], np.uint8)).min() >= 0.06


def test_a_palette_may_be_written_to():
    palette(["a", "b"])[:] = 0
    assert palette(["a", "b"]).any()
