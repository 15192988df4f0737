"""Pictures: how a screen shows the slices of a study and what was found in them."""

import cv2
import numpy as np
import numpy.typing as npt

from metseg.errors import ProcessingFailed
from metseg.volume import CHANNELS, Volume

__all__ = ["FLAIR", "MARK", "display", "encode_png", "grey", "outlined", "overlay", "window", "windowed"]

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

MARK = (255, 92, 56)
"""The colour of lesions, RGB: told apart from grey by colour-blind eyes, too."""
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""Noise leaves no repetitions to search for: runs alone give files as small as level 6 in a third of its time."""
FLAIR = CHANNELS.index("FLAIR")
SAMPLES = 2_000_000
"""Values that a window is judged from; a percentile needs no more."""


def display(volume: Volume) -> Pixels:
    """The pixels of a study as a screen shows them, every channel windowed alike over all slices.

    The window reaches from the darkest to nearly the brightest of the head (its 99.5th percentile), and leaves
    out the air around it, which would fill half of the histogram.

    Returns:
        uint8, shaped as `volume.pixels`.
    """
    shown = np.empty(volume.pixels.shape, np.uint8)
    for channel in range(len(CHANNELS)):
        low, high = window(volume.pixels[..., channel])
        table = (
            None
            if volume.pixels.dtype.kind == "f"
            else windowed(np.arange(256**volume.pixels.dtype.itemsize), low, high)
        )
        for source, target in zip(volume.pixels[..., channel], shown[..., channel], strict=True):
            target[:] = windowed(source, low, high) if table is None else table[source]
    return shown


def windowed(values: npt.NDArray[np.generic], low: float, high: float) -> Pixels:
    """0 at `low` and below, 255 at `high` and above."""
    grey: Pixels = np.rint(255 * ((values.astype(np.float64) - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    return grey


def window(values: npt.NDArray[np.generic]) -> tuple[float, float]:
    """The values to show black and white; apart even where all are equal."""
    sample = values.reshape(-1)[:: values.size // SAMPLES + 1].astype(np.float64)
    low, top = np.percentile(sample, (0.5, 99.9))
    head = sample[sample > low + 0.08 * (top - low)]
    high = np.percentile(head, 99.5) if head.size else sample.max()
    return float(low), float(high if high > low else low + 1)


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
    _, data = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image, PNG)
    return bytes(data)


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
