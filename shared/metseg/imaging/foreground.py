"""The head: the part of a study that is brighter than the air around it."""

import cv2
import numpy as np

from metseg.imaging.arrays import Mask, UInt8Array

__all__ = ["bounding_box", "foreground_mask"]


def foreground_mask(grey: UInt8Array) -> Mask:
    """Separate a head from the air around it.

    Air is darker than half of Otsu's threshold (IEEE Trans. SMC 1979) over all slices. Specks and lines thinner than
    three pixels are removed.

    Args:
        grey: uint8, (slice, row, column).

    Returns:
        bool, shaped as `grey`; empty where nothing is bright enough.
    """
    threshold = cv2.threshold(grey.reshape(len(grey), -1), 0, 255, cv2.THRESH_OTSU)[0]
    kernel = np.ones((3, 3), np.uint8)
    mask = np.empty(grey.shape, bool)
    for one, target in zip(grey, mask, strict=True):
        target[:] = cv2.morphologyEx((one > threshold / 2).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    return mask


def bounding_box(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns of the smallest box that holds a mask, (row, column); the mask must not be empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
