"""Lookup tables: 8 or 16 bits have few values, so a function of a pixel is computed once for each value.

Everything here equals, bit for bit, what NumPy computes pixel by pixel, in a fraction of the time.
"""

from collections.abc import Callable, Iterable, Sequence
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

HALF = 2**16
"""Values of the upper or the lower half of 32 bits."""
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
        parts: (pixel, channel) each, of one type: uint8, uint16 or float32; at least one pixel in all. They are read
            one by one, twice where they are floating point.
        wanted: from 0 to 100.

    Returns:
        (percentile, channel).
    """
    first = next(iter(parts))
    if first.dtype not in (np.uint8, np.uint16):
        return _percentiles_of_floats(parts, wanted, first.shape[1])
    counts = np.zeros((first.shape[1], np.iinfo(first.dtype).max + 1), np.intp)
    for part in parts:
        for channel, column in enumerate(part.T):
            counts[channel] += histogram(column)
    return np.stack([percentiles_of_counts(count, wanted) for count in counts], axis=-1)


def _percentiles_of_floats(parts: Iterable[Array], wanted: Sequence[float], channels: int) -> Float64Array:
    """Percentiles of float32 by two histograms, so that no more than a part is in memory.

    The first one, of the upper 16 bits of each value's sort key, shows which of them the wanted values have; the second
    one is of the lower 16 bits of those.
    """
    upper = np.zeros((channels, HALF), np.intp)
    for part in parts:
        for channel, column in enumerate(part.T):
            upper[channel] += np.bincount(_sort_keys(column) >> 16, minlength=HALF)
    count = int(upper[0].sum())
    position = np.true_divide(wanted, 100) * (count - 1)
    below = np.floor(position).astype(np.intp)
    ranks = np.stack([below, np.minimum(below + 1, count - 1)])
    ends = np.cumsum(upper, axis=1)
    bins = np.stack([np.searchsorted(end, ranks, side="right") for end in ends])
    lower = _lower_halves(parts, [np.unique(each) for each in bins])
    values = np.empty(bins.shape, np.float32)
    for channel, *where in np.ndindex(bins.shape):
        bin_ = bins[channel, *where]
        rank = ranks[*where] - (ends[channel, bin_] - upper[channel, bin_])
        low = np.searchsorted(np.cumsum(lower[channel][bin_]), rank, side="right")
        values[channel, *where] = _value_of_key(int(bin_) << 16 | int(low))
    low, high = values.swapaxes(0, 1)
    return _interpolate(low, high, position - below).T


def _lower_halves(
    parts: Iterable[Array], bins: Sequence[npt.NDArray[np.intp]]
) -> list[dict[int, npt.NDArray[np.intp]]]:
    """By channel and upper half: how often each lower half occurs."""
    slot_of = np.zeros((len(bins), HALF), np.intp)  # 0: not wanted
    for channel, each in enumerate(bins):
        slot_of[channel, each] = np.arange(1, len(each) + 1)
    counts = [np.zeros((len(each) + 1) * HALF, np.intp) for each in bins]
    for part in parts:
        for channel, column in enumerate(part.T):
            keys = _sort_keys(column)
            slots = slot_of[channel][keys >> 16]
            chosen = slots > 0
            found = slots[chosen] * HALF + (keys[chosen] & (HALF - 1))
            counts[channel] += np.bincount(found, minlength=len(counts[channel]))
    return [
        {int(bin_): count.reshape(-1, HALF)[slot] for slot, bin_ in enumerate(each, start=1)}
        for each, count in zip(bins, counts, strict=True)
    ]


def _sort_keys(values: Array) -> npt.NDArray[np.uint32]:
    """Integers in the order of float32 values."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    keys: npt.NDArray[np.uint32] = bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    return keys


def _value_of_key(key: int) -> np.float32:
    """The value whose sort key this is."""
    bits = key ^ (0x80000000 if key >> 31 else 0xFFFFFFFF)
    return np.float32(np.array(bits, np.uint32).view(np.float32))


def _interpolate(low: Array, high: Array, share: Float64Array) -> Float64Array:
    """Between neighbours in the sorted values, as NumPy does."""
    between: Float64Array = np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))
    return between


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
    return _interpolate(low, high, share)


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
