"""Slices scaled to another size and cropped to the head, one at a time where a study need not be in memory."""

from collections.abc import Iterator

import cv2
import numpy as np

from metseg.imaging.arrays import Array, Float32Array, Mask
from metseg.imaging.foreground import bounding_box, foreground_mask
from metseg.imaging.lookup_tables import lookup_function, percentiles

__all__ = [
    "ScaledSlices",
    "Size",
    "Slices",
    "crop_box",
    "crop_or_pad",
    "head_mask",
    "overlap",
    "resize",
    "resized_slices",
]

Size = tuple[int, int]
"""Rows and columns."""


class ScaledSlices:
    """The slices of a study in a head's box, in model pixels; each is scaled whenever it is read.

    Attributes:
        shape: slices, rows, columns, channels.
        dtype: of the pixels.
    """

    def __init__(self, pixels: Array, frame: Size, origin: Size, box: Size) -> None:
        self._pixels, self._frame, self._origin, self._box = pixels, frame, origin, box
        self.shape, self.dtype = (len(pixels), *box, pixels.shape[3]), pixels.dtype

    def __iter__(self) -> Iterator[Array]:
        for one in resized_slices(self._pixels, self._frame):
            yield crop_or_pad(one[np.newaxis], self._origin, self._box)[0]


Slices = Array | ScaledSlices
"""What has `shape` and `dtype` and gives (row, column, channel) slice by slice, as often as it is read."""


def resize(pixels: Array, size: Size) -> Array:
    """Scale every slice.

    Args:
        pixels: (slice, row, column, channel).
        size: rows and columns of the result.

    Returns:
        The same dtype; the input itself where it has that size.
    """
    if pixels.shape[1:3] == size:
        return pixels
    out = np.empty((len(pixels), *size, pixels.shape[3]), pixels.dtype)
    for source, target in zip(resized_slices(pixels, size), out, strict=True):
        target[:] = source
    return out


def resized_slices(pixels: Array, size: Size) -> Iterator[Array]:
    """Scale every slice when it is read, so that they are never all in memory.

    Args:
        pixels: (slice, row, column, channel).
        size: rows and columns of the results.

    Yields:
        (row, column, channel) of the same dtype.
    """
    if pixels.shape[1:3] == size:
        yield from pixels
        return
    shrinks = size[0] * size[1] < pixels.shape[1] * pixels.shape[2]
    for one in pixels:
        resized = cv2.resize(
            np.ascontiguousarray(one), size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        yield resized.reshape(*size, pixels.shape[3])


def head_mask(pixels: Array, size: Size) -> Mask:
    """Find the head: the foreground of the mean of channels.

    Args:
        pixels: (slice, row, column, channel).
        size: rows and columns that the slices are scaled to first.

    Returns:
        bool, (slice, row, column) of `size`; everything where there is no foreground.
    """
    channels = pixels.shape[-1]
    bounds = percentiles(_WholeSlices(pixels, size), (0, 99.5))
    low, high = bounds.astype(np.float32)
    span = np.maximum(high - low, np.finfo(np.float32).eps)
    brightness = lookup_function(pixels.dtype, channels, lambda values: ((values - low) / span).clip(0, 1))
    grey = np.empty((len(pixels), *size), np.uint8)
    for one, target in zip(resized_slices(pixels, size), grey, strict=True):
        target[:] = np.rint(_mean_of_channels(brightness(one)) * 255).astype(np.uint8)
    head = foreground_mask(grey)
    return head if head.any() else np.ones_like(head)


class _WholeSlices:
    """The pixels of every scaled slice, (pixel, channel)."""

    def __init__(self, pixels: Array, size: Size) -> None:
        self._pixels, self._size = pixels, size

    def __iter__(self) -> Iterator[Array]:
        return (one.reshape(-1, one.shape[-1]) for one in resized_slices(self._pixels, self._size))


def _mean_of_channels(pixels: Float32Array) -> Float32Array:
    """(row, column); added channel by channel, as NumPy's mean over so short an axis does."""
    mean = pixels[..., 0].copy()
    for channel in range(1, pixels.shape[-1]):
        mean += pixels[..., channel]
    return np.divide(mean, pixels.shape[-1], out=mean)


def crop_box(head: Mask, multiple: int) -> tuple[Size, Size]:
    """Find the smallest box of whole multiples, centred on the head of all slices.

    Args:
        head: bool, (slice, row, column).
        multiple: what its rows and columns are multiples of.

    Returns:
        First row and column, which may be negative; rows and columns.
    """
    sides = []
    for side in bounding_box(np.asarray(head.any(axis=0))):
        extent = side.stop - side.start
        size = -(-extent // multiple) * multiple
        sides.append((side.start - (size - extent) // 2, size))
    (top, rows), (left, columns) = sides
    return (top, left), (rows, columns)


def overlap(origin: Size, box: Size, frame: Size) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a box that lies in a frame.

    Args:
        origin: first row and column of the box in the frame; may be negative.
        box: its rows and columns.
        frame: rows and columns of the frame.

    Returns:
        Its rows and columns in the coordinates of the box, and in those of the frame.
    """
    in_box, in_frame = [], []
    for first, size, whole in zip(origin, box, frame, strict=True):
        start, stop = max(first, 0), min(first + size, whole)
        in_frame.append(slice(start, stop))
        in_box.append(slice(start - first, stop - first))
    return (in_box[0], in_box[1]), (in_frame[0], in_frame[1])


def crop_or_pad(pixels: Array, origin: Size, box: Size) -> Array:
    """Crop a box out of every slice, padded with zeros where it reaches beyond the slice.

    Args:
        pixels: (slice, row, column) or (slice, row, column, channel).
        origin: first row and column of the box; may be negative.
        box: its rows and columns.

    Returns:
        The same dtype, with rows and columns of `box`.
    """
    in_box, in_frame = overlap(origin, box, (pixels.shape[1], pixels.shape[2]))
    out = np.zeros((len(pixels), *box, *pixels.shape[3:]), pixels.dtype)
    out[:, *in_box] = pixels[:, *in_frame]
    return out
