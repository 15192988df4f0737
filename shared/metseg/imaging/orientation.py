"""The order of a volume's voxels: from the file's axes to ours, (slice, row, column), and exactly back.

A file may store its voxels along any axes and in any direction. We show slices as radiologists do: axial ones from
the feet up, rows from the front to the back, columns from the patient's right to the left; coronal and sagittal ones
from the front to the back and from right to left, rows from the head down. Voxels are only reordered, never
interpolated, so the way back is exact, voxel for voxel.

A `Grid` is data (it crosses the wire in `Result.grid`); the functions here are what can be done with one.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.orientations import io_orientation

from metseg.contracts import Grid
from metseg.imaging.volume import MIN_SIDE_PX

__all__ = ["Affine", "affine_of", "from_pipeline", "orient", "plane", "skew_degrees", "spacing_mm_of", "to_pipeline"]

Affine = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

RIGHT_LEFT, FRONT_BACK, FEET_HEAD = 0, 1, 2
THICK = 2.0
"""Slices run along an axis whose voxels are so many times as long as any other's; else they are axial."""
SHOWN = {
    FEET_HEAD: ((FEET_HEAD, 1), (FRONT_BACK, -1), (RIGHT_LEFT, -1)),
    FRONT_BACK: ((FRONT_BACK, -1), (FEET_HEAD, -1), (RIGHT_LEFT, -1)),
    RIGHT_LEFT: ((RIGHT_LEFT, -1), (FEET_HEAD, -1), (FRONT_BACK, -1)),
}
"""By what slices run along: the direction in RAS+ that slices, rows and columns run along, and in which sense."""
PLANES = {FEET_HEAD: "axial", FRONT_BACK: "coronal", RIGHT_LEFT: "sagittal"}


def orient(shape: tuple[int, int, int], affine: Affine, *, placed: bool = True) -> Grid:
    """How a volume is to be read.

    Slices run along the axis of the thickest voxels if these are twice as long as any others, else from the feet to
    the head; but never so that a slice would be too small to be segmented where another way is there.

    Args:
        shape: voxels along the volume's three axes.
        affine: from voxels to RAS+ millimetres, invertible; (4, 4).
        placed: whether the affine is more than a guess; else the grid keeps none.
    """
    axis_of = {int(world): (axis, int(sense)) for axis, (world, sense) in enumerate(io_orientation(affine))}  # type: ignore[no-untyped-call]
    slices_along = _slices_along(shape, affine, axis_of)
    axes, flipped = [], []
    for world, wanted in SHOWN[slices_along]:
        axis, sense = axis_of[world]
        axes.append(axis)
        flipped.append(sense != wanted)
    return Grid(
        axes=(axes[0], axes[1], axes[2]),
        flipped=(flipped[0], flipped[1], flipped[2]),
        shape=shape,
        affine=_rows(affine) if placed else None,
    )


def plane(affine: Affine) -> str:
    """`axial`, `coronal` or `sagittal`: what slices with this affine, as `affine_of` gives it, are nearest to."""
    return PLANES[int(io_orientation(affine)[2, 0])]  # type: ignore[no-untyped-call]


def to_pipeline(voxels: Array, grid: Grid) -> Array:
    """A volume in the file's order as (slice, row, column); a view."""
    ours = voxels.transpose(grid.axes)
    return ours[_senses(grid)]


def from_pipeline(ours: Array, grid: Grid) -> Array:
    """(slice, row, column) in the file's order; a view, and the exact inverse of `to_pipeline`."""
    return ours[_senses(grid)].transpose(np.argsort(grid.axes))


def affine_of(grid: Grid, affine: Affine) -> Affine:
    """From (column, row, slice) indices, as `Volume.affine`, to where the file's `affine` puts its voxels."""
    reorder = np.zeros((4, 4))
    reorder[3, 3] = 1
    for ours, (axis, flipped) in enumerate(zip(grid.axes, grid.flipped, strict=True)):
        reorder[axis, 2 - ours] = -1 if flipped else 1
        reorder[axis, 3] = grid.shape[axis] - 1 if flipped else 0
    placed: Affine = affine @ reorder
    return placed


def spacing_mm_of(affine: Affine) -> tuple[float, float, float]:
    """Between slices, rows and columns, of an affine as `affine_of` gives it.

    Slices of a sheared volume lie shifted against each other; their distance is the one at right angles to them.
    """
    columns, rows, _ = np.linalg.norm(affine[:3, :3], axis=0)
    return float(abs(affine[:3, 2] @ _normal(affine))), float(rows), float(columns)


def skew_degrees(affine: Affine) -> tuple[float, float]:
    """How far from right angles a volume is, its affine as `affine_of` gives it: within its slices, and across them."""
    columns, rows, slices = (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T
    within = math.asin(min(abs(float(columns @ rows)), 1.0))
    across = math.acos(min(abs(float(slices @ _normal(affine))), 1.0))
    return math.degrees(within), math.degrees(across)


def _normal(affine: Affine) -> npt.NDArray[np.float64]:
    """The direction at right angles to the slices, of length 1."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    unit: npt.NDArray[np.float64] = normal / np.linalg.norm(normal)
    return unit


def _senses(grid: Grid) -> tuple[slice, slice, slice]:
    first, second, third = (slice(None, None, -1 if flipped else 1) for flipped in grid.flipped)
    return first, second, third


def _rows(affine: Affine) -> Any:  # noqa: ANN401 (a tuple of four rows of four, which pydantic checks)
    return tuple(tuple(float(value) for value in row) for row in affine)


def _slices_along(shape: tuple[int, int, int], affine: Affine, axis_of: dict[int, tuple[int, int]]) -> int:
    """The direction in RAS+ that slices run along."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    thickest = int(np.argmax(lengths))
    others = np.delete(lengths, thickest)
    wished = [FEET_HEAD, FRONT_BACK, RIGHT_LEFT]
    if lengths[thickest] >= THICK * others.max():
        wished.sort(key=lambda world: axis_of[world][0] != thickest)
    for world in wished:
        if min(np.delete(shape, axis_of[world][0])) >= MIN_SIDE_PX:
            return world
    return wished[0]
