"""Margins in millimetres around a mask, in three dimensions, whatever the shape of its voxels."""

import math

import numpy as np
from scipy import ndimage

from metseg.imaging.arrays import Mask, Shape, Spacing

__all__ = ["add_margin"]

ROUNDING_MM = 1e-6
"""By which distances may be off: a margin of 3 mm holds the third voxel of 1 mm."""


def add_margin(mask: Mask, spacing_mm: Spacing, margin_mm: float) -> tuple[Mask, Shape]:
    """Add all voxels whose middles are no farther from that of a voxel of the mask than a margin.

    The distance is Euclidean and exact, like that of SciPy's `distance_transform_edt`, but computed slice by slice, so
    that memory holds one distance map of a slice. Nothing beyond the margin is added, so along an axis the mask grows
    by the largest number of whole voxels that fit into the margin.

    Args:
        mask: bool, (slice, row, column).
        spacing_mm: between slices, rows and columns.
        margin_mm: 0 or more.

    Returns:
        bool, the mask with its margin, larger by as many voxels on each side of an axis as the margin can reach; and
        how many these are.
    """
    reach = tuple(math.floor((margin_mm + ROUNDING_MM) / side) for side in spacing_mm)
    grown = np.zeros([count + 2 * more for count, more in zip(mask.shape, reach, strict=True)], bool)
    for index in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
        padded = np.pad(mask[index], [(more, more) for more in reach[1:]])
        distance_mm = ndimage.distance_transform_edt(~padded, spacing_mm[1:])
        for step in range(-reach[0], reach[0] + 1):
            within_mm = math.sqrt(max(0.0, (margin_mm + ROUNDING_MM) ** 2 - (step * spacing_mm[0]) ** 2))
            grown[index + reach[0] + step] |= distance_mm <= within_mm
    return grown, (reach[0], reach[1], reach[2])
