"""Margins: Euclidean distances in millimetres, by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from metseg.imaging import add_margin

MASKS = arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=4)).filter(np.any)
SPACINGS = st.tuples(*[st.floats(0.4, 6)] * 3)


def distance_mm(voxels, mask, spacing_mm):
    """From the middle of each voxel to that of the nearest one of the mask."""
    apart_mm = (voxels[:, None] - np.argwhere(mask)) * spacing_mm
    return np.sqrt((apart_mm**2).sum(axis=2)).min(axis=1)


@given(MASKS, SPACINGS, st.floats(0, 5))
def test_a_margin_holds_the_voxels_within_its_distance_and_no_others(mask, spacing_mm, margin_mm):
    grown, reach = add_margin(mask, spacing_mm, margin_mm)
    wide = np.array(reach) + 1  # one more voxel on each side than the answer has
    voxels = np.argwhere(np.ones(grown.shape + np.array(2), bool)) - wide
    distances = distance_mm(voxels, mask, spacing_mm).reshape(np.array(grown.shape) + 2)
    clear = np.abs(distances - margin_mm) > 1e-5
    assert np.array_equal(np.pad(grown, 1)[clear], (distances <= margin_mm)[clear])


@pytest.mark.parametrize(("margin_mm", "rows", "slices"), [(0, 0, 0), (0.9, 0, 0), (1, 1, 0), (4.9, 4, 0), (5, 5, 1)])
def test_a_margin_is_never_exceeded_in_any_direction(margin_mm, rows, slices):
    grown, _ = add_margin(np.ones((1, 1, 1), bool), (5.0, 1.0, 1.0), margin_mm)
    assert np.count_nonzero(grown.any(axis=(0, 2))) == 1 + 2 * rows
    assert np.count_nonzero(grown.any(axis=(1, 2))) == 1 + 2 * slices


def test_a_ball_grows_by_its_margin():
    ball = np.linalg.norm(np.mgrid[-8:9, -8:9, -8:9], axis=0) <= 8
    grown, _ = add_margin(ball, (1.0, 1.0, 1.0), 3)
    assert np.count_nonzero(grown) == pytest.approx(4 / 3 * np.pi * 11**3, rel=0.06)
