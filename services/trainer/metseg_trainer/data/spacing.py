"""Voxel spacing, also of studies that store none."""

import numpy as np

from metseg.imaging import REFERENCE_PIXEL_MM, Volume

__all__ = ["spacing_or_assumed_mm"]

HEAD_MM = 150.0
"""The height of a head, which slices without spacing are assumed to cover together."""
MIN_SLICE_MM, MAX_SLICE_MM = 1.0, 7.0


def spacing_or_assumed_mm(volume: Volume) -> tuple[float, float, float]:
    """Between slices, rows and columns: the study's, or an assumption if it stores none.

    The public data store none. Their pixels are assumed to be 0.9 mm wide, as in the same scans of other archives, and
    their slices to cover a head of 150 mm.
    """
    if volume.spacing_mm is not None:
        return volume.spacing_mm
    between = float(np.clip(HEAD_MM / len(volume.pixels), MIN_SLICE_MM, MAX_SLICE_MM))
    return between, REFERENCE_PIXEL_MM, REFERENCE_PIXEL_MM
