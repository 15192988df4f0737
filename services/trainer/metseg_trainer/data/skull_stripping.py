"""Skull stripping without a network.

Fat and scalp are bright, bone is dark and the brain is in between: after an erosion the ring of bone separates them.
This is the idea of the forerunners of the Brain Extraction Tool (Smith, Human Brain Mapping 2002, reviews them); it is
good enough to place lesions and to imitate skull-stripped research data.
"""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.imaging import FLAIR, PRE, Float32Array, Mask, Volume
from metseg_trainer.data.morphology import closed, filled, largest_part, opened

__all__ = ["brain_mask", "cerebral_slices", "strip_skull"]

BASE_PX = 256
"""The lengths below are for slices whose longer side has so many pixels, and scale with it."""
SKULL_PX, NECK_PX, GAP_PX = 7, 4, 6
HEAD = 0.12
"""Pixels brighter than this share of the brightest are head, the rest is air."""
FACE_SHARE = 0.3
"""Share of a head's height, from below, that face and neck occupy."""
MIN_AREA_SHARE = 0.08
"""A slice whose part is smaller than this share of the largest one shows eyes or sinuses, not the brain."""


def brain_mask(volume: Volume) -> Mask:
    """Where the brain is: bool, (slice, row, column); empty slices below and above it.

    Args:
        volume: axial slices with or without skull, from one end of the head to the other, in either order.
    """
    unit = max(volume.shape[1:]) / BASE_PX
    grey = _grey(volume)
    head = np.stack([filled(opened(one > HEAD, 2 * unit)) for one in grey])
    inside = np.stack(
        [cv2.distanceTransform(np.pad(one, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1] for one in head]
    )
    deep = inside > SKULL_PX * unit
    if not deep.any():
        return np.zeros(volume.shape, np.bool_)
    middle = float(np.median(grey[inside > 0.5 * inside.max()]))
    soft = deep & (grey > 0.45 * middle) & (grey < 2.1 * middle) & ~_fat(volume, inside)
    parts = _connected(np.stack([largest_part(opened(one, NECK_PX * unit)) for one in soft]))
    brain: Mask = np.stack([filled(closed(one, GAP_PX * unit)) for one in parts]) & deep
    return brain


def cerebral_slices(volume: Volume) -> Mask:
    """Which slices are above the face and the neck: bool, (slice).

    The end of the head where its slices are smaller is the top.

    Args:
        volume: see `brain_mask`; a few slices without a head all count.
    """
    areas = (_grey(volume) > HEAD).sum(axis=(1, 2))
    quarter, below = len(areas) // 4, round(FACE_SHARE * len(areas))
    above = np.ones(len(areas), np.bool_)
    if quarter and areas[:quarter].mean() >= areas[-quarter:].mean():
        above[:below] = False
    elif quarter:
        above[len(areas) - below :] = False
    return above


def strip_skull(volume: Volume, brain: Mask) -> Volume:
    """The study with 0 outside the brain, as in stripped research data.

    Args:
        volume: the study.
        brain: bool, (slice, row, column).

    Returns:
        A copy.

    Raises:
        ValueError: `brain` is not shaped as the study (a bug of the caller).
    """
    if brain.shape != volume.shape:
        raise ValueError(f"a brain of {brain.shape} in a study of {volume.shape}")
    return replace(volume, pixels=volume.pixels * brain[..., None].astype(volume.pixels.dtype))


def _grey(volume: Volume) -> Float32Array:
    """The mean of the channels, each from 0 at its darkest to 1 at its 99th percentile; (slice, row, column)."""
    pixels = volume.pixels.astype(np.float32)
    low = pixels.min(axis=(0, 1, 2))
    high = np.percentile(pixels[:: max(1, len(pixels) // 16)], 99, axis=(0, 1, 2)).astype(np.float32)
    scaled: Float32Array = (
        ((pixels - low) / np.maximum(high - low, np.finfo(np.float32).eps)).clip(0, 1.5).mean(axis=-1)
    )
    return np.stack([cv2.GaussianBlur(one, (0, 0), 0.8) for one in scaled])


def _fat(volume: Volume, inside: npt.NDArray[Any]) -> Mask:
    """Pixels far brighter than the middle of the head before contrast, like fat and unlike lesions.

    None where FLAIR replaces that sequence.
    """
    pre, flair = volume.pixels[..., PRE], volume.pixels[..., FLAIR]
    if np.array_equal(pre, flair):
        return np.zeros(volume.shape, np.bool_)
    fat: Mask = pre > 1.7 * np.median(pre[inside > 0.5 * inside.max()])
    return fat


def _connected(parts: Mask) -> Mask:
    """From the slice with most brain outwards: the parts that overlap their neighbour and are not much larger.

    Starts in the middle half of the head, since a face can look like a larger brain.
    """
    areas = parts.sum(axis=(1, 2))
    quarter = len(parts) // 4
    start = quarter + int(areas[quarter : len(parts) - quarter].argmax())
    kept = np.zeros_like(parts)
    kept[start] = parts[start]
    for step in (1, -1):
        index = start + step
        while 0 <= index < len(parts):
            here = parts[index] & ndimage.binary_dilation(kept[index - step], iterations=4)
            if here.sum() < MIN_AREA_SHARE * areas[start]:
                break
            kept[index] = largest_part(here)
            index += step
    return kept
