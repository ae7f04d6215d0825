"""Contours and hatching."""

import numpy as np

from ovs_core.draw import marks, swatch
from ovs_core.draw.marks import HATCHINGS


def test_every_hatching_differs_from_every_other_in_form():
    drawn = [swatch(name, 24)[..., 3] > 0 for name in range(HATCHINGS)]
    assert not drawn[0].any()
    for one in range(HATCHINGS):
        for other in range(one):
            assert (drawn[one] != drawn[other]).mean() > 0.1
    assert np.array_equal(swatch(3), swatch(3 + HATCHINGS))


def test_lines_are_dark_and_light_so_that_they_show_on_any_ground():
    for name in range(1, HATCHINGS):
        values = swatch(name, 24)[..., 0][swatch(name, 24)[..., 3] > 0]
        assert (values < 50).any() and (values > 200).any()


def test_names_decide_the_hatching_and_regions_the_contours():
    regions = np.zeros((60, 90), int)
    regions[:, 30:60], regions[:, 60:] = 1, 2
    drawn = marks(regions, np.array([-1, 1, 1]))[..., 3] > 0
    assert not drawn[:, :30].any()  # has no name
    inner = [drawn[:, 33:57], drawn[:, 63:87]]
    assert all(0.1 < part.mean() < 0.6 for part in inner)
    assert drawn[:, 30].all() and drawn[:, 60].all()  # also between two regions of one name
