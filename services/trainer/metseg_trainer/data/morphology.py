"""Masks of single slices, (row, column): opened, closed, filled, and their largest part."""

import cv2
import numpy as np
from scipy import ndimage

from metseg.imaging import Mask, UInt8Array

__all__ = ["closed", "disc", "filled", "largest_part", "opened", "solidity"]


def disc(radius_px: float) -> UInt8Array:
    """A disc of at least one pixel's radius, as OpenCV expects it."""
    side = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def opened(mask: Mask, radius_px: float) -> Mask:
    """Remove what is narrower than a disc.

    Args:
        mask: bool, (row, column).
        radius_px: of the disc.

    Returns:
        The opened mask.
    """
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc(radius_px)) > 0)


def closed(mask: Mask, radius_px: float) -> Mask:
    """Close gaps that are narrower than a disc.

    Args:
        mask: bool, (row, column).
        radius_px: of the disc.

    Returns:
        The closed mask.
    """
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc(radius_px)) > 0)


def filled(mask: Mask) -> Mask:
    """A mask without holes."""
    return np.asarray(ndimage.binary_fill_holes(mask), np.bool_)


def largest_part(mask: Mask) -> Mask:
    """The largest 8-connected part of a mask."""
    count, labels, figures, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return np.zeros(mask.shape, np.bool_)
    return np.asarray(labels == 1 + int(figures[1:, cv2.CC_STAT_AREA].argmax()), np.bool_)


def solidity(mask: Mask) -> float:
    """The share of its convex hull that a mask fills; 0 where it is empty."""
    if not mask.any():
        return 0.0
    hull = cv2.convexHull(cv2.findNonZero(mask.astype(np.uint8)))
    return float(mask.sum() / max(1.0, cv2.contourArea(hull)))
