import numpy as np

from ovs_core.draw import regions_to_paint

COLORS = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
LABELS = np.array([[0, 0, 0, 2], [1, 1, 2, 2]])


def test_names_are_regions_and_background_stays_plain():
    regions = regions_to_paint(LABELS, COLORS, background=[1])
    assert regions.plain == (1,)
    assert regions.map is LABELS and np.array_equal(regions.colors, COLORS)
    assert regions.by_name() == [(0, 1, 0.375), (2, 1, 0.375), (1, 1, 0.25)]


def test_segments_of_one_name_differ_in_shade_and_count_as_one_name():
    ids = np.array([[1, 1, 2, 0], [3, 3, 3, 3]])
    info = [{"id": 1, "category_id": 2}, {"id": 2, "category_id": 2}, {"id": 3, "category_id": 0}]
    regions = regions_to_paint(LABELS, COLORS, segment_ids=ids, segments_info=info)
    assert regions.owner.tolist() == [-1, 2, 2, 0]
    assert regions.plain == (0,)
    assert np.array_equal(regions.colors[1], COLORS[2])
    assert not np.array_equal(regions.colors[2], COLORS[2])
    assert regions.by_name() == [(0, 1, 0.5), (2, 2, 0.375)]


def test_a_picture_without_any_segment():
    regions = regions_to_paint(LABELS, COLORS, segment_ids=np.zeros_like(LABELS), segments_info=[])
    assert regions.by_name() == [] and regions.plain == (0,)
