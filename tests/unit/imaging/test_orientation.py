"""From a file's voxels to (slice, row, column) and back: exact for any axis order."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from metseg.imaging import (
    canonical_affine,
    canonical_grid,
    from_canonical,
    skew_degrees,
    slice_plane,
    spacing_mm_of,
    to_canonical,
)

ORDERS = [
    (axes, senses) for axes in itertools.permutations(range(3)) for senses in itertools.product((1, -1), repeat=3)
]
ANATOMY = {"left": (-1, 0, 0), "right": (1, 0, 0), "front": (0, 1, 0), "back": (0, -1, 0), "head": (0, 0, 1)}


def affine(axes, senses, sizes, turn=(0, 0, 0), origin=(0, 0, 0)):
    """File axis k runs along the patient's axis `axes[k]`, in that sense, and rotated by some degrees."""
    matrix = np.zeros((3, 3))
    for axis, (world, sense) in enumerate(zip(axes, senses, strict=True)):
        matrix[world, axis] = sense * sizes[axis]
    placed = np.eye(4)
    placed[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ matrix
    placed[:3, 3] = origin
    return placed


placements = st.builds(
    affine,
    *(st.sampled_from(ORDERS).map(lambda order, part=part: order[part]) for part in (0, 1)),
    st.tuples(*[st.floats(0.3, 8)] * 3),
    st.tuples(*[st.floats(-25, 25)] * 3),
    st.tuples(*[st.floats(-200, 200)] * 3),
)


def position(placed, index):
    return (placed @ [*index, 1])[:3]


@pytest.mark.parametrize(("axes", "senses"), ORDERS)
def test_every_axis_order_is_shown_in_radiological_convention(axes, senses):
    placed = affine(axes, senses, [1, 1, 1])
    grid = canonical_grid((20, 24, 28), placed)
    ours = canonical_affine(grid, placed)
    here = position(ours, (5, 5, 5))
    assert np.allclose(position(ours, (6, 5, 5)) - here, ANATOMY["left"])
    assert np.allclose(position(ours, (5, 6, 5)) - here, ANATOMY["back"])
    assert np.allclose(position(ours, (5, 5, 6)) - here, ANATOMY["head"])


def test_an_asymmetric_phantom_survives_every_axis_order():
    voxels = np.arange(17**3).reshape(17, 17, 17)
    seen = set()
    for order in ORDERS:
        grid = canonical_grid(voxels.shape, affine(*order, [1, 1, 1]))
        ours = to_canonical(voxels, grid)
        assert np.array_equal(from_canonical(ours, grid), voxels)
        seen.add(ours.tobytes())
    assert len(seen) == len(ORDERS) == 48


@given(placements, st.tuples(*[st.integers(1, 40)] * 3), st.randoms(use_true_random=False))
def test_every_voxel_keeps_its_place_in_the_patient(placed, shape, random):
    voxels = np.arange(np.prod(shape)).reshape(shape)
    grid = canonical_grid(shape, placed)
    ours = to_canonical(voxels, grid)
    assert np.array_equal(from_canonical(ours, grid), voxels)
    slice_, row, column = (random.randrange(side) for side in ours.shape)
    where = np.argwhere(voxels == ours[slice_, row, column])[0]
    assert np.allclose(
        position(canonical_affine(grid, placed), (column, row, slice_)), position(placed, where), atol=1e-6
    )
    lengths = np.linalg.norm(placed[:3, :3], axis=0)
    assert np.allclose(spacing_mm_of(canonical_affine(grid, placed)), lengths[list(grid.axes)])


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param((1, 1, 5), "axial", id="thick along the body"),
        pytest.param((1, 5, 1), "coronal", id="thick from front to back"),
        pytest.param((5, 1, 1), "sagittal", id="thick from side to side"),
        pytest.param((1, 1, 1), "axial", id="cubes"),
        pytest.param((1.2, 0.9, 0.9), "axial", id="nearly cubes"),
    ],
)
def test_slices_run_along_the_thickest_voxels_or_are_axial(sizes, expected):
    placed = affine((0, 1, 2), (1, 1, 1), sizes)
    grid = canonical_grid((40, 40, 40), placed)
    assert slice_plane(canonical_affine(grid, placed)) == expected


@given(placements, st.tuples(*[st.floats(-0.9, 0.9)] * 2))
def test_a_voxels_size_follows_the_affine_even_if_sheared(placed, tilt):
    leaning = placed.copy()
    leaning[:3, 2] += np.linalg.norm(placed[:3, 2]) * sum(
        share * placed[:3, axis] / np.linalg.norm(placed[:3, axis]) for axis, share in enumerate(tilt)
    )
    assert np.prod(spacing_mm_of(leaning)) == pytest.approx(abs(np.linalg.det(leaning[:3, :3])))
    within, across = skew_degrees(leaning)
    assert within == pytest.approx(0, abs=1e-4)
    assert across == pytest.approx(np.degrees(np.arctan(np.hypot(*tilt))), abs=1e-4)


@pytest.mark.parametrize("degrees", [0, 2, 30, 60])
def test_rows_and_columns_off_a_right_angle_are_detected(degrees):
    placed = np.diag([2.0, 3.0, 4.0, 1.0])
    placed[:3, 1] = 3 * np.array([np.sin(np.radians(degrees)), np.cos(np.radians(degrees)), 0])
    assert skew_degrees(placed) == pytest.approx((degrees, 0), abs=1e-6)


def test_a_coronal_slice_shows_the_head_above_and_the_patients_right_on_the_left():
    placed = affine((0, 1, 2), (1, 1, 1), (1, 5, 1))
    ours = canonical_affine(canonical_grid((40, 40, 40), placed), placed)
    step = position(ours, (1, 1, 0)) - position(ours, (0, 0, 0))
    assert np.allclose(step, (-1, 0, -1))


def test_a_sagittal_slice_shows_the_head_above_and_the_face_on_the_left():
    placed = affine((0, 1, 2), (1, 1, 1), (5, 1, 1))
    ours = canonical_affine(canonical_grid((40, 40, 40), placed), placed)
    step = position(ours, (1, 1, 0)) - position(ours, (0, 0, 0))
    assert np.allclose(step, (0, -1, -1))


def test_a_thin_volume_is_not_sliced_too_small_to_segment():
    grid = canonical_grid((200, 8, 200), affine((0, 1, 2), (1, 1, 1), (1, 1, 1)))
    assert grid.axes[0] == 1
