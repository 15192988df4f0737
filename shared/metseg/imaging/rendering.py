"""Slices for display: windowed to 8 bits, with lesions marked, as PNG."""

import struct
import zlib
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from metseg.errors import ProcessingFailed
from metseg.imaging.arrays import Array, Float64Array, Mask, UInt8Array
from metseg.imaging.channels import CHANNELS, FLAIR
from metseg.imaging.lookup_tables import apply_lookup_table, histogram, lookup_function, percentiles_of_counts
from metseg.imaging.volume import Volume

__all__ = [
    "LESION_RGB",
    "apply_window",
    "channel_values",
    "decode_channel",
    "decode_slice",
    "draw_contours",
    "encode_animated_png",
    "encode_png",
    "estimate_window",
    "overlay",
    "window_slices",
    "window_volume",
]

LESION_RGB = (255, 92, 56)
"""The colour of lesions; colour-blind people can tell it from grey."""
COMPRESSION_LEVEL = 1
"""Of ISA-L: as small as zlib's level 1, in a quarter of its time with run-length encoding."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GREY, PNG_RGB = 0, 2
"""Colour types of the PNG specification."""
PNG_FILTER_UP = 2
"""The PNG filter that stores each byte's difference from the one above."""
MAX_WINDOW_SAMPLES = 2_000_000
"""Values that a window is estimated from; a percentile needs no more."""
RANGE_PERCENTILES = (0.5, 99.9)
MAX_AIR = 0.08
"""Air reaches to this share of the range between those percentiles."""
WHITE_PERCENTILE = 99.5
"""Of what is brighter than air."""


def window_volume(volume: Volume) -> UInt8Array:
    """The pixels of a study as a screen shows them, each channel with one window for all slices.

    The window reaches from the darkest value to the 99.5th percentile of the head. It ignores the air around the head,
    which would fill half of the histogram.

    Returns:
        uint8, shaped as `volume.pixels`.
    """
    low, high = _windows(volume)
    return apply_lookup_table(volume.pixels, lambda values: apply_window(values, low, high))


def window_slices(volume: Volume) -> Iterator[UInt8Array]:
    """The slices of `window_volume` one by one, so that they are never all in memory."""
    low, high = _windows(volume)
    window = lookup_function(volume.pixels.dtype, len(CHANNELS), lambda values: apply_window(values, low, high))
    yield from map(window, volume.pixels)


def _windows(volume: Volume) -> Float64Array:
    """The values to show black and white; (2, channel)."""
    return np.array([estimate_window(channel_values(volume, channel)) for channel in range(len(CHANNELS))]).T


def channel_values(volume: Volume, channel: int) -> Array:
    """All pixels of one channel.

    Args:
        volume: the study.
        channel: its index.

    Returns:
        (pixel,); a view where the volume's pixels are contiguous, as they usually are.
    """
    return volume.pixels[..., channel].reshape(-1)


def apply_window(values: Array, low: float | Float64Array, high: float | Float64Array) -> UInt8Array:
    """Map values to 8 bits linearly.

    Args:
        values: (...) or (..., channel).
        low: shown black, as is all below; one number, or (channel,).
        high: shown white, as is all above.

    Returns:
        uint8, shaped as `values`.
    """
    grey: UInt8Array = np.rint(255 * ((values.astype(np.float64) - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    return grey


def estimate_window(values: Array) -> tuple[float, float]:
    """The values to show black and white; different even where all values are equal."""
    sample = values.reshape(-1)[:: values.size // MAX_WINDOW_SAMPLES + 1]
    is_counted = sample.dtype in (np.uint8, np.uint16)
    low, high = _window_of_integers(sample) if is_counted else _window_of_floats(sample.astype(np.float64))
    return float(low), float(high if high > low else low + 1)


def _window_of_integers(sample: Array) -> tuple[float, float]:
    """`_window_of_floats` of 8 or 16 bits, by one histogram."""
    counts = histogram(sample)
    low, top = percentiles_of_counts(counts, RANGE_PERCENTILES)
    head = np.where(np.arange(len(counts)) > low + MAX_AIR * (top - low), counts, 0)
    return low, percentiles_of_counts(head, [WHITE_PERCENTILE])[0] if head.any() else np.flatnonzero(counts)[-1]


def _window_of_floats(sample: Float64Array) -> tuple[float, float]:
    """The darkest value, and nearly the brightest of the head."""
    low, top = np.percentile(sample, RANGE_PERCENTILES)
    head = sample[sample > low + MAX_AIR * (top - low)]
    return low, np.percentile(head, WHITE_PERCENTILE) if head.size else sample.max()


def overlay(
    pixels: UInt8Array, mask: Mask, channel: int | None = FLAIR, opacity: float = 0.35, contour: bool = False
) -> UInt8Array:
    """One slice with its lesions marked.

    Args:
        pixels: uint8, (row, column, channel), as from `window_volume`.
        mask: bool, (row, column).
        channel: which one to show in grey; None shows the mean of all.
        opacity: of the mark, from 0 to 1.
        contour: draw a line one pixel wide around the lesions, which covers none of them, instead of filling them.

    Returns:
        RGB, uint8, (row, column, 3).

    Raises:
        ValueError: `mask` is not shaped as the slice (a bug in the caller).
    """
    if mask.shape != pixels.shape[:2]:
        raise ValueError(f"the mask must be shaped as the slice, {pixels.shape[:2]}, not {mask.shape}")
    grey = np.rint(pixels.mean(axis=2)).astype(np.uint8) if channel is None else pixels[..., channel]
    image = np.repeat(grey[..., None], 3, axis=2)
    marked = _outer_contour(mask) if contour else mask
    image[marked] = np.rint((1 - opacity) * image[marked] + opacity * np.array(LESION_RGB))
    return image


def _outer_contour(mask: Mask) -> Mask:
    """The pixels outside a mask that share an edge with it."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    dilated: Mask = cv2.dilate(mask.astype(np.uint8), cross).astype(bool)
    return dilated & ~mask


def encode_png(image: npt.NDArray[np.uint8 | np.uint16]) -> bytes:
    """Encode a PNG without dates or names, so that equal images give equal bytes.

    Args:
        image: grey, (row, column), in 8 or 16 bits, or RGB, (row, column, 3), in 8 bits.
    """
    return b"".join((SIGNATURE, _header(image), _chunk(b"IDAT", _image_data(image)), _chunk(b"IEND", b"")))


def encode_animated_png(images: Iterable[UInt8Array], count: int) -> Iterator[bytes]:
    """Encode an animated PNG frame by frame, each of them whole and shown until a viewer goes on.

    Args:
        images: grey or RGB frames of one size.
        count: of frames.

    Yields:
        The parts of the file.
    """
    sequence = 0
    for frame, image in enumerate(images):
        data = _image_data(image)
        if not frame:
            yield SIGNATURE + _header(image) + _chunk(b"acTL", struct.pack(">II", count, 0))
        columns, rows = image.shape[1], image.shape[0]
        yield _chunk(b"fcTL", struct.pack(">IIIIIHHBB", sequence, columns, rows, 0, 0, 0, 1000, 0, 0))
        sequence += 1
        if not frame:
            yield _chunk(b"IDAT", data)
        else:
            yield _chunk(b"fdAT", struct.pack(">I", sequence) + data)
            sequence += 1
    yield _chunk(b"IEND", b"")


def _header(image: npt.NDArray[np.uint8 | np.uint16]) -> bytes:
    rows, columns = image.shape[:2]
    colour_type = PNG_RGB if image.ndim == 3 else PNG_GREY
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8 * image.itemsize, colour_type, 0, 0, 0))


def _image_data(image: npt.NDArray[np.uint8 | np.uint16]) -> bytes:
    """The compressed pixels."""
    rows = len(image)
    stored = np.ascontiguousarray(image, image.dtype.newbyteorder(">")).view(np.uint8).reshape(rows, -1)
    lines = np.full((rows, stored.shape[1] + 1), PNG_FILTER_UP, np.uint8)
    lines[0, 1:] = stored[0]
    np.subtract(stored[1:], stored[:-1], out=lines[1:, 1:])
    data: bytes = isal_zlib.compress(lines, COMPRESSION_LEVEL)
    return data


def _chunk(name: bytes, content: bytes) -> bytes:
    return b"".join(
        (struct.pack(">I", len(content)), name, content, struct.pack(">I", isal_zlib.crc32(content, zlib.crc32(name))))
    )


def draw_contours(png: bytes, mask: Mask, channel: int = FLAIR) -> bytes:
    """One sequence of a slice with the contours of its lesions.

    Args:
        png: a slice, as `metseg.results` stores it.
        mask: bool, (row, column), of the same slice.
        channel: of the sequence.

    Returns:
        A PNG, RGB.

    Raises:
        ProcessingFailed: the PNG is damaged.
    """
    grey = decode_channel(png, mask.shape, channel)[..., np.newaxis]
    return encode_png(overlay(grey, mask, 0, opacity=1.0, contour=True))


def decode_channel(png: bytes, shape: tuple[int, ...], channel: int) -> UInt8Array:
    """One channel of a slice.

    Args:
        png: the slice, as `metseg.results` stores it.
        shape: rows and columns that it must have.
        channel: which one; a slice of a single sequence has no other.

    Returns:
        uint8, (row, column).

    Raises:
        ProcessingFailed: the PNG is damaged.
    """
    pixels = decode_slice(png, shape)
    return pixels[..., channel if pixels.shape[2] > 1 else 0]


def decode_slice(png: bytes, shape: tuple[int, ...]) -> UInt8Array:
    """All channels of a slice.

    Args:
        png: the slice, as `metseg.results` stores it.
        shape: rows and columns that it must have.

    Returns:
        uint8, (row, column, channel); one channel of a slice of a single sequence.

    Raises:
        ProcessingFailed: the PNG is damaged.
    """
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if png else None
    if decoded is None or decoded.shape[:2] != shape:
        raise ProcessingFailed.damaged_result()
    pixels: UInt8Array = np.atleast_3d(np.asarray(decoded, np.uint8))
    return pixels[..., len(CHANNELS) - 1 :: -1]  # OpenCV decodes to BGR
