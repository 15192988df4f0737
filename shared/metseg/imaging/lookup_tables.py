"""Pixels by their value: 8 or 16 bits have few values, so what is asked of each pixel is computed once a value.

Everything here equals, bit for bit, what NumPy computes pixel by pixel; it only takes a fraction of the time.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["by_value", "histogram", "looked_up", "mean_and_deviation", "of_counts", "percentiles"]

EXACT = 2**24
"""Up to here OpenCV's histogram, which is of float32, counts one by one."""

Array = npt.NDArray[Any]


def by_value(pixels: Array, function: Callable[[Array], Array]) -> Array:
    """What a function of a pixel's value and channel makes of every pixel.

    Args:
        pixels: (slice, row, column, channel), 8 or 16 bits, or floating point.
        function: elementwise; takes (..., channel) of the pixels' type.
    """
    look_up = looked_up(pixels.dtype, pixels.shape[-1], function)
    made = np.empty(pixels.shape, function(pixels[:1, :1, :1]).dtype)
    for source, target in zip(pixels, made, strict=True):
        target[:] = look_up(source)
    return made


def looked_up(depth: "np.dtype[Any]", channels: int, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The same function for pixels of one type, which are many and come part by part.

    Args:
        depth: of the pixels.
        channels: of the pixels.
        function: as of `by_value`.

    Returns:
        Takes (row, column, channel).
    """
    if depth not in (np.uint8, np.uint16):
        return function
    values = np.arange(np.iinfo(depth).max + 1, dtype=depth)
    table = function(np.repeat(values[:, None], channels, axis=1))

    def look_up(pixels: Array) -> Array:
        found: Array = cv2.LUT(np.ascontiguousarray(pixels), table[None])
        return found

    return look_up


def percentiles(parts: Iterable[Array], wanted: Sequence[float]) -> npt.NDArray[np.float64]:
    """Percentiles of every channel, as `numpy.percentile` interpolates them.

    Args:
        parts: (pixel, channel) each, of one type, at least one pixel in all; of integers one part is held at a time.
        wanted: from 0 to 100.

    Returns:
        (percentile, channel).
    """
    remaining = iter(parts)
    first = next(remaining)
    if first.dtype not in (np.uint8, np.uint16):
        return np.asarray(np.percentile(np.concatenate([first, *remaining]), wanted, axis=0), np.float64)
    counts = np.zeros((first.shape[1], np.iinfo(first.dtype).max + 1), np.intp)
    for part in chain([first], remaining):
        for channel, column in enumerate(part.T):
            counts[channel] += histogram(column)
    return np.stack([of_counts(count, wanted) for count in counts], axis=-1)


def histogram(values: Array) -> npt.NDArray[np.intp]:
    """How often each value that 8 or 16 bits can have occurs; `values` is (pixel,)."""
    if values.dtype != np.uint8:
        return np.bincount(values, minlength=np.iinfo(values.dtype).max + 1)
    counts = np.zeros(256, np.intp)
    for begin in range(0, len(values), EXACT):
        part = np.ascontiguousarray(values[begin : begin + EXACT])
        counts += cv2.calcHist([part], [0], None, [256], [0, 256]).ravel().astype(np.intp)
    return counts


def of_counts(counts: npt.NDArray[np.intp], wanted: Sequence[float]) -> npt.NDArray[np.float64]:
    """Percentiles of values, of which is known how often each occurs; at least one does."""
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
    parts: Sequence[npt.NDArray[np.uint8]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation of every channel, computed in float32 as NumPy does of one (pixel, channel).

    NumPy sums a column from its first to its last pixel. So does a running sum, which passes through memory once.

    Args:
        parts: (pixel, channel) each, in order; at least one pixel in all.
    """
    count = np.float32(sum(map(len, parts)))
    values = np.arange(256, dtype=np.float32)
    means, deviations = [], []
    for channel in range(parts[0].shape[1]):
        columns = [np.ascontiguousarray(part[:, channel]) for part in parts if len(part)]
        mean = _summed(columns, values) / count
        means.append(mean)
        deviations.append(np.sqrt(_summed(columns, np.square(values - mean)) / count))
    return np.array(means, np.float32), np.array(deviations, np.float32)


def _summed(columns: Iterable[npt.NDArray[np.uint8]], table: npt.NDArray[np.float32]) -> np.float32:
    """What the table has for each value of the columns, added in float32 one after the other."""
    total = np.float32(0)
    for column in columns:
        terms = cv2.LUT(column, table).ravel()
        terms[0] += total
        total = np.add.accumulate(terms, out=terms)[-1]
    return total
