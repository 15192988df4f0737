"""The brain of a single axial slice, stricter than `brain_mask`: nothing may be drawn into an orbit or the scalp."""

import cv2
import numpy as np
import numpy.typing as npt

from metseg.imaging import POST, Mask, Volume
from metseg_trainer.data.morphology import closed, disc, filled, largest_part, opened, solidity
from metseg_trainer.data.skull_stripping import brain_mask

__all__ = ["single_slice_brain"]

MIN_SOLIDITY, MAX_AREA_PX = 0.93, 24_000
"""A mask that fills less of its convex hull, or is larger in pixels of 0.9 mm, includes eyes and sinuses."""
SKULL_PX = 9


def single_slice_brain(volume: Volume) -> Mask:
    """Where the brain is: bool, (1, row, column); empty where the mask is more likely face and brain together."""
    brain = brain_mask(volume)
    if solidity(brain[0]) < MIN_SOLIDITY or brain.sum() > MAX_AREA_PX:
        return np.zeros_like(brain)
    return _tightened(volume.pixels[0, ..., POST], brain[0])[None]


def _tightened(post: npt.NDArray[np.generic], brain: Mask) -> Mask:
    """A rough brain mask, (row, column), without the scalp and the muscles that it includes."""
    smooth = cv2.GaussianBlur(post.astype(np.float32), (0, 0), 1.0)
    inner = cv2.erode(brain.astype(np.uint8), disc(15)) > 0
    median = float(np.median(smooth[inner if inner.any() else brain]))
    head = filled(closed(smooth > 0.25 * median, 5))
    depth = cv2.distanceTransform(np.pad(head, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    in_range = (smooth > 0.6 * median) & (smooth < 1.5 * median) & brain
    soft = opened(closed(in_range, 2) & (depth >= SKULL_PX), 5)
    return filled(closed(np.pad(largest_part(soft), 20), 12)[20:-20, 20:-20])
