"""A slice with the contours of its lesions, at the size of a screen or a sheet of paper."""

import cv2
import numpy as np

from metseg.contracts import Structure
from metseg.imaging import FLAIR, POST, Mask, UInt8Array, decode_channel, overlay
from metseg.results.exports.finished_job import FinishedJob

LINE_PX = 2


def outlined_channel(structure: Structure) -> int:
    """The sequence on which a structure is outlined: the one that defines it."""
    return POST if structure == "core" else FLAIR


def render_contours(job: FinishedJob, index: int, mask: Mask, side_px: int) -> UInt8Array:
    """A slice of a job in grey with the contours of its lesions; see `outline_slice`.

    Args:
        job: the job.
        index: of the slice.
        mask: bool, (row, column), of the slice.
        side_px: length of the longer side.

    Returns:
        RGB, uint8, (row, column, 3).
    """
    result = job.result()
    grey = decode_channel(job.slice_png(index), mask.shape, outlined_channel(result.structure))
    return outline_slice(grey, mask, result.spacing_mm, side_px, LINE_PX)


def outline_slice(
    grey: UInt8Array, mask: Mask, spacing_mm: tuple[float, float, float] | None, side_px: int, line_px: int
) -> UInt8Array:
    """A slice in grey, scaled to square pixels, with the contours of its lesions.

    Contours are drawn after scaling, so that all lines are equally wide and a lesion of a single pixel has one too.

    Args:
        grey: uint8, (row, column).
        mask: bool, the same shape.
        spacing_mm: between slices, rows and columns; None if unknown.
        side_px: length of the longer side.
        line_px: width of the contours.

    Returns:
        RGB, uint8, (row, column, 3).
    """
    size = _size(mask.shape, spacing_mm, side_px)
    shrinks = size[0] < mask.shape[1] or size[1] < mask.shape[0]
    large = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    nearest = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    marked = cv2.resize(mask.astype(np.float32), size, interpolation=nearest) > 0
    return overlay(np.asarray(large, np.uint8)[..., np.newaxis], _line(np.asarray(marked), line_px), 0, opacity=1.0)


def _line(mask: Mask, line_px: int) -> Mask:
    """A line around the mask, outside of it."""
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * line_px + 1, 2 * line_px + 1))
    grown: Mask = cv2.dilate(mask.astype(np.uint8), around).astype(bool)
    return grown & ~mask


def _size(shape: tuple[int, ...], spacing_mm: tuple[float, float, float] | None, side_px: int) -> tuple[int, int]:
    """Columns and rows of the picture; without spacing the pixels count as square."""
    _, between_rows, between_columns = spacing_mm or (1.0, 1.0, 1.0)
    height, width = shape[0] * between_rows, shape[1] * between_columns
    scale = side_px / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))
