"""Pictures: how a screen shows the slices of a study and what was found in them."""

import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from metseg.errors import ProcessingFailed
from metseg.imaging.lookup_tables import by_value, histogram, looked_up, of_counts
from metseg.imaging.volume import CHANNELS, Volume

__all__ = [
    "FLAIR",
    "MARK",
    "display",
    "displayed",
    "encode_png",
    "grey",
    "of_channel",
    "outlined",
    "overlay",
    "window",
    "windowed",
]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MARK = (255, 92, 56)
"""The colour of lesions, RGB: told apart from grey by colour-blind eyes, too."""
LEVEL = 1
"""Of ISA-L, which packs noise as small as zlib's level 1 does, in a quarter of the time that its runs alone take."""
GREY, RGB = 0, 2
"""Colour types of the PNG specification."""
UP = 2
"""Its filter that stores each byte less the one above."""
FLAIR = CHANNELS.index("FLAIR")
SAMPLES = 2_000_000
"""Values that a window is judged from; a percentile needs no more."""
ENDS, AIR, BRIGHTEST = (0.5, 99.9), 0.08, 99.5
"""Percentiles of all values; which share of the way between them is air; and the percentile of what is not."""


def display(volume: Volume) -> Pixels:
    """The pixels of a study as a screen shows them, every channel windowed alike over all slices.

    The window reaches from the darkest to nearly the brightest of the head (its 99.5th percentile), and leaves
    out the air around it, which would fill half of the histogram.

    Returns:
        uint8, shaped as `volume.pixels`.
    """
    low, high = _windows(volume)
    return by_value(volume.pixels, lambda values: windowed(values, low, high))


def displayed(volume: Volume) -> Iterator[Pixels]:
    """The slices of `display` one by one, so that they are never whole in memory."""
    low, high = _windows(volume)
    shown = looked_up(volume.pixels.dtype, len(CHANNELS), lambda values: windowed(values, low, high))
    yield from map(shown, volume.pixels)


def _windows(volume: Volume) -> Floats:
    """What to show black, and what white; (2, channel)."""
    return np.array([window(of_channel(volume, channel)) for channel in range(len(CHANNELS))]).T


def of_channel(volume: Volume, channel: int) -> npt.NDArray[np.generic]:
    """All pixels of a channel as a line, (pixel,); a view where a volume's pixels lie in order, as they do."""
    return volume.pixels.reshape(-1, len(CHANNELS))[:, channel]


def windowed(values: npt.NDArray[np.generic], low: float | Floats, high: float | Floats) -> Pixels:
    """0 at `low` and below, 255 at `high` and above."""
    grey: Pixels = np.rint(255 * ((values.astype(np.float64) - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    return grey


def window(values: npt.NDArray[np.generic]) -> tuple[float, float]:
    """The values to show black and white; apart even where all are equal."""
    sample = values.reshape(-1)[:: values.size // SAMPLES + 1]
    low, high = _of_values(sample) if sample.dtype in (np.uint8, np.uint16) else _of_floats(sample.astype(np.float64))
    return float(low), float(high if high > low else low + 1)


def _of_values(sample: npt.NDArray[np.generic]) -> tuple[float, float]:
    """`_of_floats` of 8 or 16 bits, counted once."""
    counts = histogram(sample)
    low, top = of_counts(counts, ENDS)
    head = np.where(np.arange(len(counts)) > low + AIR * (top - low), counts, 0)
    return low, of_counts(head, [BRIGHTEST])[0] if head.any() else np.flatnonzero(counts)[-1]


def _of_floats(sample: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The darkest value and nearly the brightest of the head."""
    low, top = np.percentile(sample, ENDS)
    head = sample[sample > low + AIR * (top - low)]
    return low, np.percentile(head, BRIGHTEST) if head.size else sample.max()


def overlay(
    pixels: Pixels, mask: Mask, channel: int | None = FLAIR, opacity: float = 0.35, contour: bool = False
) -> Pixels:
    """One slice with its lesions marked.

    Args:
        pixels: uint8, (row, column, channel), as `display` gives them.
        mask: bool, (row, column).
        channel: which one to show in grey; None shows the mean of all.
        opacity: of the mark, from 0 to 1.
        contour: draw a line of one pixel around the lesions, which covers none of them, instead of filling them.

    Returns:
        RGB, uint8, (row, column, 3).

    Raises:
        ValueError: `mask` is not shaped as the slice (a bug of the caller).
    """
    if mask.shape != pixels.shape[:2]:
        raise ValueError(f"the mask must be shaped as the slice, {pixels.shape[:2]}, not {mask.shape}")
    grey = pixels.mean(axis=2) if channel is None else pixels[..., channel]
    picture = np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)
    marked = _outline(mask) if contour else mask
    picture[marked] = np.rint((1 - opacity) * picture[marked] + opacity * np.array(MARK))
    return picture


def _outline(mask: Mask) -> Mask:
    """The pixels outside a mask that share an edge with it."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    grown: Mask = cv2.dilate(mask.astype(np.uint8), cross).astype(bool)
    return grown & ~mask


def encode_png(image: npt.NDArray[np.uint8 | np.uint16]) -> bytes:
    """A PNG without dates or names: equal images give equal bytes.

    Args:
        image: grey, (row, column), in 8 or 16 bits, or RGB, (row, column, 3), in 8 bits.
    """
    rows, columns = image.shape[:2]
    stored = np.ascontiguousarray(image, image.dtype.newbyteorder(">")).view(np.uint8).reshape(rows, -1)
    lines = np.full((rows, stored.shape[1] + 1), UP, np.uint8)
    lines[0, 1:] = stored[0]
    np.subtract(stored[1:], stored[:-1], out=lines[1:, 1:])
    kind = RGB if image.ndim == 3 else GREY
    head = struct.pack(">IIBBBBB", columns, rows, 8 * image.itemsize, kind, 0, 0, 0)
    packed = isal_zlib.compress(lines.tobytes(), LEVEL)
    return b"".join((b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", head), _chunk(b"IDAT", packed), _chunk(b"IEND", b"")))


def _chunk(name: bytes, content: bytes) -> bytes:
    return b"".join(
        (struct.pack(">I", len(content)), name, content, struct.pack(">I", isal_zlib.crc32(content, zlib.crc32(name))))
    )


def outlined(picture: bytes, mask: Mask) -> bytes:
    """FLAIR with the contours of its lesions, as a PNG.

    Args:
        picture: of a slice, as `artefacts` keeps it.
        mask: bool, (row, column), of the same slice.

    Raises:
        ProcessingFailed: the picture is damaged.
    """
    return encode_png(overlay(grey(picture, mask.shape)[..., np.newaxis], mask, 0, opacity=1.0, contour=True))


def grey(picture: bytes, shape: tuple[int, ...]) -> Pixels:
    """FLAIR of a slice, uint8, (row, column).

    Args:
        picture: of the slice, as `artefacts` keeps it.
        shape: rows and columns that it must have.

    Raises:
        ProcessingFailed: the picture is damaged.
    """
    kept = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED) if picture else None
    if kept is None or kept.shape[:2] != shape:
        raise ProcessingFailed("A stored result is damaged; submit the study again.")
    pixels: Pixels = np.atleast_3d(np.asarray(kept, np.uint8))
    return pixels[..., FLAIR if pixels.shape[2] > 1 else 0]  # the middle one of three, whichever way round they come
