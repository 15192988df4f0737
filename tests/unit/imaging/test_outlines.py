"""Outlines enclose the pixels of their mask, all of them and no other, in polygons that need no holes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tests.structure_sets import fill

from metseg.imaging import outline_polygons

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def area(polygon):
    """By the shoelace formula, in which a channel without width counts nothing."""
    rows, columns = polygon.T
    return abs(rows @ np.roll(columns, -1) - columns @ np.roll(rows, -1)) / 2


@given(MASKS)
def test_outlines_enclose_the_middles_and_the_area_of_their_pixels(mask):
    polygons = outline_polygons(mask)
    assert np.array_equal(fill(polygons, mask.shape), mask)
    assert sum(map(area, polygons)) == np.count_nonzero(mask)


@given(MASKS)
def test_outlines_run_along_pixel_edges_and_close(mask):
    for polygon in outline_polygons(mask):
        steps = np.roll(polygon, -1, axis=0) - polygon
        assert (np.count_nonzero(steps, axis=1) == 1).all(), "each side runs along a row or a column"
        assert (polygon % 1 == 0.5).all()
        assert not np.array_equal(polygon[0], polygon[-1])


def test_a_ring_is_one_polygon_with_a_keyhole():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    [polygon] = outline_polygons(mask)
    assert len(polygon) == 4 + 5 + 2, "two squares, the inner one closed, and twice the other end of the channel"


def test_pixels_that_touch_at_a_corner_are_two_polygons():
    assert [len(polygon) for polygon in outline_polygons(np.eye(2, dtype=bool))] == [4, 4]


@given(st.integers(1, 9), st.integers(1, 9))
def test_a_rectangle_has_four_corners(rows, columns):
    [polygon] = outline_polygons(np.ones((rows, columns), bool))
    assert sorted(map(tuple, polygon.tolist())) == [
        (-0.5, -0.5), (-0.5, columns - 0.5), (rows - 0.5, -0.5), (rows - 0.5, columns - 0.5)
    ]  # fmt: skip
