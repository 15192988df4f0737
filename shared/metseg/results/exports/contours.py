"""A slice with its outlines, at the size in which a screen or a sheet of paper shows it."""

import cv2
import numpy as np
import numpy.typing as npt

from metseg.imaging import decode_flair, overlay
from metseg.results.exports.finished_job import Kept

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

LINE_PX = 2


def drawn(kept: Kept, index: int, mask: Mask, side_px: int) -> Pixels:
    """One slice in grey with the contours of its lesions, whose pixels have their true shape.

    Lines are drawn after scaling, so that all are equally wide, and a lesion of a single pixel keeps its own.

    Args:
        kept: of the job.
        index: of the slice.
        mask: bool, (row, column), of the slice.
        side_px: of the longer side.

    Returns:
        RGB, uint8, (row, column, 3).
    """
    return framed(decode_flair(kept.picture(index), mask.shape), mask, kept.result().spacing_mm, side_px, LINE_PX)


def framed(
    flair: Pixels, mask: Mask, spacing_mm: tuple[float, float, float] | None, side_px: int, line_px: int
) -> Pixels:
    """The same of a slice that is there already.

    Args:
        flair: uint8, (row, column).
        mask: bool, the same shape.
        spacing_mm: between slices, rows and columns; None where it is not known.
        side_px: of the longer side.
        line_px: how wide outlines are.

    Returns:
        RGB, uint8, (row, column, 3).
    """
    size = _size(mask.shape, spacing_mm, side_px)
    shrinks = size[0] < mask.shape[1] or size[1] < mask.shape[0]
    large = cv2.resize(flair, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    nearest = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    marked = cv2.resize(mask.astype(np.float32), size, interpolation=nearest) > 0
    return overlay(np.asarray(large, np.uint8)[..., np.newaxis], _line(np.asarray(marked), line_px), 0, opacity=1.0)


def _line(mask: Mask, line_px: int) -> Mask:
    """A line around what is marked that covers none of it."""
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * line_px + 1, 2 * line_px + 1))
    grown: Mask = cv2.dilate(mask.astype(np.uint8), around).astype(bool)
    return grown & ~mask


def _size(shape: tuple[int, ...], spacing_mm: tuple[float, float, float] | None, side_px: int) -> tuple[int, int]:
    """Columns and rows of the picture; square pixels where no spacing is known."""
    _, between_rows, between_columns = spacing_mm or (1.0, 1.0, 1.0)
    height, width = shape[0] * between_rows, shape[1] * between_columns
    scale = side_px / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))
