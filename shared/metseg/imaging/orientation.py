"""The order of a volume's voxels: from the file's axes to the canonical order, (slice, row, column), and exactly back.

A file may store its voxels along any axes and in any direction. The canonical order shows slices as radiologists do:
axial ones from the feet up, rows from the front to the back, columns from the patient's right to the left; coronal and
sagittal ones from the front to the back and from right to left, rows from the head down. Voxels are only reordered,
never interpolated, so the way back is exact, voxel for voxel.

A `Grid` describes the file's order (it crosses the wire in `Result.grid`); the functions here compute with it.
"""

import math
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation

from metseg.contracts import Grid
from metseg.imaging.arrays import Affine, Array, Float64Array, Shape, Spacing
from metseg.imaging.volume import MIN_SIDE_PX

__all__ = [
    "LPS_TO_RAS",
    "canonical_affine",
    "canonical_grid",
    "from_canonical",
    "map_points",
    "region_from_canonical",
    "skew_degrees",
    "slice_plane",
    "spacing_mm_of",
    "to_canonical",
]

LPS_TO_RAS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From the axes of DICOM and MetaImage to those of NIfTI, and back, for it is its own inverse."""
RIGHT_LEFT, FRONT_BACK, FEET_HEAD = 0, 1, 2
MIN_ANISOTROPY = 2.0
"""Slices run along the axis whose voxels are at least so many times as long as any other's; else they are axial."""
DISPLAY_AXES = {
    FEET_HEAD: ((FEET_HEAD, 1), (FRONT_BACK, -1), (RIGHT_LEFT, -1)),
    FRONT_BACK: ((FRONT_BACK, -1), (FEET_HEAD, -1), (RIGHT_LEFT, -1)),
    RIGHT_LEFT: ((RIGHT_LEFT, -1), (FEET_HEAD, -1), (FRONT_BACK, -1)),
}
"""By the axis of the slices: the RAS+ axis that slices, rows and columns run along, and in which sense."""
PLANES = {FEET_HEAD: "axial", FRONT_BACK: "coronal", RIGHT_LEFT: "sagittal"}


def canonical_grid(shape: Shape, affine: Affine, *, has_position: bool = True) -> Grid:
    """How a volume's voxels map to the canonical order.

    Slices run along the axis of the thickest voxels if these are twice as long as any others, else from the feet to
    the head; unless a slice would then be too small to be segmented and another axis gives larger ones.

    Args:
        shape: voxels along the volume's three axes.
        affine: from voxels to RAS+ millimetres, invertible; (4, 4).
        has_position: whether the affine comes from the file; else the grid keeps none.

    Returns:
        What `to_canonical` and `from_canonical` need, and what a result stores.
    """
    axis_of = {int(world): (axis, int(sense)) for axis, (world, sense) in enumerate(io_orientation(affine))}  # type: ignore[no-untyped-call]
    slices_along = _slices_along(shape, affine, axis_of)
    axes, flipped = [], []
    for world, wanted in DISPLAY_AXES[slices_along]:
        axis, sense = axis_of[world]
        axes.append(axis)
        flipped.append(sense != wanted)
    return Grid(
        axes=(axes[0], axes[1], axes[2]),
        flipped=(flipped[0], flipped[1], flipped[2]),
        shape=shape,
        affine=_rows(affine) if has_position else None,
    )


def slice_plane(affine: Affine) -> str:
    """`axial`, `coronal` or `sagittal`, whichever is nearest to the slices of a canonical affine."""
    return PLANES[int(io_orientation(affine)[2, 0])]  # type: ignore[no-untyped-call]


def to_canonical(voxels: Array, grid: Grid) -> Array:
    """Reorder a volume.

    Args:
        voxels: three axes, in the file's order.
        grid: of the file.

    Returns:
        A view, (slice, row, column).
    """
    return voxels.transpose(grid.axes)[_flips(grid)]


def from_canonical(voxels: Array, grid: Grid) -> Array:
    """The exact inverse of `to_canonical`.

    Args:
        voxels: (slice, row, column).
        grid: of the file.

    Returns:
        A view in the file's order.
    """
    return voxels[_flips(grid)].transpose(np.argsort(grid.axes))


def region_from_canonical(voxels: Array, first: Shape, grid: Grid) -> tuple[Array, Shape]:
    """`from_canonical` for a part of a volume.

    Args:
        voxels: the part, (slice, row, column).
        first: slice, row and column of its first voxel.
        grid: of the file.

    Returns:
        A view in the file's order, and its first voxel there.
    """
    begin = [0, 0, 0]
    for start, length, axis, flipped in zip(first, voxels.shape, grid.axes, grid.flipped, strict=True):
        begin[axis] = grid.shape[axis] - start - length if flipped else start
    return from_canonical(voxels, grid), (begin[0], begin[1], begin[2])


def canonical_affine(grid: Grid, affine: Affine) -> Affine:
    """The affine of a volume in canonical order.

    Args:
        grid: of the file.
        affine: of the file, from its voxel indices to RAS+ millimetres.

    Returns:
        From (column, row, slice) indices to RAS+ millimetres, as `Volume.affine`.
    """
    reorder = np.zeros((4, 4))
    reorder[3, 3] = 1
    for canonical, (axis, flipped) in enumerate(zip(grid.axes, grid.flipped, strict=True)):
        reorder[axis, 2 - canonical] = -1 if flipped else 1
        reorder[axis, 3] = grid.shape[axis] - 1 if flipped else 0
    reordered: Affine = affine @ reorder
    return reordered


def map_points(affine: Affine, points: Array) -> Float64Array:
    """Points through an affine.

    Args:
        affine: (4, 4).
        points: (point, 3).

    Returns:
        (point, 3).
    """
    mapped: Float64Array = points @ affine[:3, :3].T + affine[:3, 3]
    return mapped


def spacing_mm_of(affine: Affine) -> Spacing:
    """Millimetres between slices, rows and columns of a canonical affine.

    Slices of a sheared volume are shifted against each other; their distance is the perpendicular one.
    """
    columns, rows, _ = np.linalg.norm(affine[:3, :3], axis=0)
    return float(abs(affine[:3, 2] @ _normal(affine))), float(rows), float(columns)


def skew_degrees(affine: Affine) -> tuple[float, float]:
    """How far a canonical affine is from right angles: within its slices, and across them."""
    columns, rows, slices = (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T
    within = math.asin(min(abs(float(columns @ rows)), 1.0))
    across = math.acos(min(abs(float(slices @ _normal(affine))), 1.0))
    return math.degrees(within), math.degrees(across)


def _normal(affine: Affine) -> Float64Array:
    """The unit normal of the slices."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    unit: Float64Array = normal / np.linalg.norm(normal)
    return unit


def _flips(grid: Grid) -> tuple[slice, slice, slice]:
    first, second, third = (slice(None, None, -1 if flipped else 1) for flipped in grid.flipped)
    return first, second, third


def _rows(affine: Affine) -> Any:  # noqa: ANN401 (a tuple of four rows of four, which pydantic checks)
    return tuple(tuple(float(value) for value in row) for row in affine)


def _slices_along(shape: Shape, affine: Affine, axis_of: dict[int, tuple[int, int]]) -> int:
    """The RAS+ axis that slices run along."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    thickest = int(np.argmax(lengths))
    others = np.delete(lengths, thickest)
    preferred = [FEET_HEAD, FRONT_BACK, RIGHT_LEFT]
    if lengths[thickest] >= MIN_ANISOTROPY * others.max():
        preferred.sort(key=lambda world: axis_of[world][0] != thickest)
    for world in preferred:
        if min(np.delete(shape, axis_of[world][0])) >= MIN_SIDE_PX:
            return world
    return preferred[0]
