"""The brain of a single axial slice, stricter than `brain_mask`: nothing may be drawn into an orbit or the scalp."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.imaging import POST, Mask, UInt8Array, Volume
from metseg_trainer.data.skull_stripping import brain_mask

__all__ = ["single_slice_brain"]

MIN_SOLIDITY, MAX_AREA_PX = 0.93, 24_000
"""A mask that fills less of its convex hull, or is larger in pixels of 0.9 mm, includes eyes and sinuses."""
SKULL_PX = 9


def single_slice_brain(volume: Volume) -> Mask:
    """Where the brain is: bool, (1, row, column); empty where the mask is more likely face and brain together."""
    brain = brain_mask(volume)
    hull = cv2.convexHull(cv2.findNonZero(brain[0].astype(np.uint8))) if brain.any() else None
    if hull is None or brain.sum() < MIN_SOLIDITY * max(1.0, cv2.contourArea(hull)) or brain.sum() > MAX_AREA_PX:
        return np.zeros_like(brain)
    return _tightened(volume.pixels[0, ..., POST], brain[0])[None]


def _tightened(post: npt.NDArray[np.generic], brain: Mask) -> Mask:
    """A rough brain mask, (row, column), without the scalp and the muscles that it includes."""
    smooth = cv2.GaussianBlur(post.astype(np.float32), (0, 0), 1.0)
    inner = cv2.erode(brain.astype(np.uint8), _disc(15)) > 0
    median = float(np.median(smooth[inner if inner.any() else brain]))
    head = cv2.morphologyEx((smooth > 0.25 * median).astype(np.uint8), cv2.MORPH_CLOSE, _disc(5))
    head = ndimage.binary_fill_holes(head)
    depth = cv2.distanceTransform(np.pad(head, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    in_range = (smooth > 0.6 * median) & (smooth < 1.5 * median) & brain
    soft = cv2.morphologyEx(in_range.astype(np.uint8), cv2.MORPH_CLOSE, _disc(2))
    soft[depth < SKULL_PX] = 0
    soft = cv2.morphologyEx(soft, cv2.MORPH_OPEN, _disc(5))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(soft)
    if count < 2:
        return np.zeros_like(brain)
    largest = (labels == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    closed = cv2.morphologyEx(np.pad(largest, 20), cv2.MORPH_CLOSE, _disc(12))[20:-20, 20:-20]
    return np.asarray(ndimage.binary_fill_holes(closed), np.bool_)


def _disc(radius: int) -> UInt8Array:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
