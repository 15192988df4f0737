"""Voxel spacing, also of studies that store none."""

from metseg.imaging import REFERENCE_PIXEL_MM, Volume, assumed_slice_distance_mm

__all__ = ["spacing_or_assumed_mm"]


def spacing_or_assumed_mm(volume: Volume) -> tuple[float, float, float]:
    """Between slices, rows and columns: the study's, or an assumption if it stores none.

    The public data store none. Their pixels are assumed to be 0.9 mm wide, as in the same scans of other archives, and
    their slices to cover a head of 150 mm.
    """
    if volume.spacing_mm is not None:
        return volume.spacing_mm
    return assumed_slice_distance_mm(len(volume.pixels)), REFERENCE_PIXEL_MM, REFERENCE_PIXEL_MM
