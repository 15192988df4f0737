"""Pixels by their value: 8 or 16 bits have few values, so what is asked of each pixel is computed once a value.

Everything here equals, bit for bit, what NumPy computes pixel by pixel; it only takes a fraction of the time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["by_value", "mean_and_deviation", "percentiles"]

Array = npt.NDArray[Any]


def by_value(pixels: Array, function: Callable[[Array], Array]) -> Array:
    """What a function of a pixel's value and channel makes of every pixel.

    Args:
        pixels: (slice, row, column, channel), 8 or 16 bits, or floating point, which goes slice by slice.
        function: elementwise; takes (..., channel) of the pixels' type.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        made = np.empty(pixels.shape, function(pixels[:1, :1, :1]).dtype)
        for source, target in zip(pixels, made, strict=True):
            target[:] = function(source)
        return made
    channels = pixels.shape[-1]
    values = np.arange(np.iinfo(pixels.dtype).max + 1, dtype=pixels.dtype)
    table = function(np.repeat(values[:, None], channels, axis=1))
    rows = np.ascontiguousarray(pixels).reshape(-1, pixels.shape[-2], channels)
    looked_up: Array = cv2.LUT(rows, table[None]).reshape(pixels.shape)
    return looked_up


def percentiles(pixels: Array, wanted: Sequence[float]) -> npt.NDArray[np.float64]:
    """Percentiles of every channel, as `numpy.percentile` interpolates them.

    Args:
        pixels: (pixel, channel), at least one.
        wanted: from 0 to 100.

    Returns:
        (percentile, channel).
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        return np.asarray(np.percentile(pixels, wanted, axis=0), np.float64)
    return np.stack([_of_counts(np.bincount(channel), wanted) for channel in pixels.T], axis=-1)


def _of_counts(counts: npt.NDArray[np.intp], wanted: Sequence[float]) -> npt.NDArray[np.float64]:
    """The same of how often each value occurs."""
    reached = np.cumsum(counts)
    place = np.true_divide(wanted, 100) * (reached[-1] - 1)
    below = np.floor(place).astype(np.intp)
    share = place - below
    low, high = np.searchsorted(reached, (below, np.minimum(below + 1, reached[-1] - 1)), side="right").astype(float)
    nearest: npt.NDArray[np.float64] = np.where(
        share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share)
    )
    return nearest


def mean_and_deviation(
    pixels: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation of every channel of (pixel, channel), computed in float32 as NumPy does.

    NumPy sums a column from its first to its last pixel. So does a running sum, which passes through memory once.
    """
    count = np.float32(len(pixels))
    values = np.arange(256, dtype=np.float32)
    means, deviations = [], []
    for channel in np.ascontiguousarray(pixels.T):
        mean = _summed(channel, values) / count
        means.append(mean)
        deviations.append(np.sqrt(_summed(channel, np.square(values - mean)) / count))
    return np.array(means, np.float32), np.array(deviations, np.float32)


def _summed(column: npt.NDArray[np.uint8], table: npt.NDArray[np.float32]) -> np.float32:
    """What the table has for each value of a column, added in float32 one after the other."""
    terms = cv2.LUT(column, table).ravel()
    total: np.float32 = np.add.accumulate(terms, out=terms)[-1]
    return total
