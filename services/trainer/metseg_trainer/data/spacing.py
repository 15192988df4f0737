"""Scale: how large a voxel is, where a study tells it and where it does not."""

import numpy as np

from metseg.imaging import REFERENCE_PIXEL_MM, Volume

__all__ = ["spacing_mm"]

HEAD_MM = 150.0
"""The height of a head, which slices without spacing are taken to share among them."""
SLICES_MM = (1.0, 7.0)


def spacing_mm(volume: Volume) -> tuple[float, float, float]:
    """Between slices, rows and columns: the study's own, or what is assumed where it stores none.

    The public data store none. Their pixels are then taken for 0.9 mm, as the data set's scans in other archives have
    them, and their slices for as far apart as a head of 150 mm leaves them.
    """
    if volume.spacing_mm is not None:
        return volume.spacing_mm
    between = float(np.clip(HEAD_MM / len(volume.pixels), *SLICES_MM))
    return between, REFERENCE_PIXEL_MM, REFERENCE_PIXEL_MM
