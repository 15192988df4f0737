"""Lookup tables: 8 or 16 bits have few values, so a function of a pixel is computed once for each value.

Everything here equals, bit for bit, what NumPy computes pixel by pixel, in a fraction of the time.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from metseg.imaging.arrays import Array, Float32Array, Float64Array, UInt8Array

__all__ = [
    "apply_lookup_table",
    "histogram",
    "lookup_function",
    "mean_and_deviation",
    "percentiles",
    "percentiles_of_counts",
]

MAX_EXACT_COUNT = 2**24
"""OpenCV's histogram is of float32, which counts exactly up to here."""


def apply_lookup_table(pixels: Array, function: Callable[[Array], Array]) -> Array:
    """Apply a function of a pixel's value and channel to every pixel.

    Args:
        pixels: (slice, row, column, channel), 8 or 16 bits, or floating point.
        function: elementwise; takes (..., channel) of the pixels' type.

    Returns:
        Shaped as `pixels`, of the function's dtype.
    """
    look_up = lookup_function(pixels.dtype, pixels.shape[-1], function)
    out = np.empty(pixels.shape, function(pixels[:1, :1, :1]).dtype)
    for source, target in zip(pixels, out, strict=True):
        target[:] = look_up(source)
    return out


def lookup_function(
    dtype: "np.dtype[Any]", channels: int, function: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """The same function by a lookup table, for pixels of one type that come slice by slice.

    Args:
        dtype: of the pixels.
        channels: of the pixels.
        function: as in `apply_lookup_table`.

    Returns:
        Takes (row, column, channel).
    """
    if dtype not in (np.uint8, np.uint16):
        return function
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    table = function(np.repeat(values[:, None], channels, axis=1))

    def look_up(pixels: Array) -> Array:
        found: Array = cv2.LUT(np.ascontiguousarray(pixels), table[None])
        return found

    return look_up


def percentiles(parts: Iterable[Array], wanted: Sequence[float]) -> Float64Array:
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
    return np.stack([percentiles_of_counts(count, wanted) for count in counts], axis=-1)


def histogram(values: Array) -> npt.NDArray[np.intp]:
    """How often each value that 8 or 16 bits can have occurs; `values` is (pixel,)."""
    if values.dtype != np.uint8:
        return np.bincount(values, minlength=np.iinfo(values.dtype).max + 1)
    counts = np.zeros(256, np.intp)
    for begin in range(0, len(values), MAX_EXACT_COUNT):
        part = np.ascontiguousarray(values[begin : begin + MAX_EXACT_COUNT])
        counts += cv2.calcHist([part], [0], None, [256], [0, 256]).ravel().astype(np.intp)
    return counts


def percentiles_of_counts(counts: npt.NDArray[np.intp], wanted: Sequence[float]) -> Float64Array:
    """Percentiles from a histogram, as `numpy.percentile` interpolates them.

    Args:
        counts: of each value from 0; at least one is not 0.
        wanted: from 0 to 100.

    Returns:
        (percentile,).
    """
    cumulative = np.cumsum(counts)
    position = np.true_divide(wanted, 100) * (cumulative[-1] - 1)
    below = np.floor(position).astype(np.intp)
    share = position - below
    neighbours = (below, np.minimum(below + 1, cumulative[-1] - 1))
    low, high = np.searchsorted(cumulative, neighbours, side="right").astype(float)
    interpolated: Float64Array = np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))
    return interpolated


def mean_and_deviation(parts: Sequence[UInt8Array]) -> tuple[Float32Array, Float32Array]:
    """Mean and standard deviation of every channel, computed in float32 as NumPy does of one (pixel, channel).

    NumPy sums a column from its first to its last pixel. A running sum does the same, in one pass through memory.

    Args:
        parts: (pixel, channel) each, in order; at least one pixel in all.
    """
    count = np.float32(sum(map(len, parts)))
    values = np.arange(256, dtype=np.float32)
    means, deviations = [], []
    for channel in range(parts[0].shape[1]):
        columns = [np.ascontiguousarray(part[:, channel]) for part in parts if len(part)]
        mean = _running_sum(columns, values) / count
        means.append(mean)
        deviations.append(np.sqrt(_running_sum(columns, np.square(values - mean)) / count))
    return np.array(means, np.float32), np.array(deviations, np.float32)


def _running_sum(columns: Iterable[UInt8Array], table: Float32Array) -> np.float32:
    """The table's entries for the values of the columns, added in float32 one after the other."""
    total = np.float32(0)
    for column in columns:
        terms = cv2.LUT(column, table).ravel()
        terms[0] += total
        total = np.add.accumulate(terms, out=terms)[-1]
    return total
