"""Pages as headers describe them, and what all decoders of pixels share."""

import struct
import zlib
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from metseg.errors import UnreadableImage
from metseg.imaging import Array, UInt8Array

__all__ = ["DAMAGE", "Page", "PixelType", "apply_orientation", "decode_with_opencv", "decode_with_pillow"]

PixelType = Literal["uint8", "uint16", "float32"]
TRANSPOSED = (5, 6, 7, 8)
"""EXIF orientations that swap rows and columns."""

# What Pillow raises for damaged bytes; its warnings are errors only under -W error.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Warning,
)

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # damaged uploads are reported by errors, not by lines in a log


class Page(NamedTuple):
    """One slice as its header describes it.

    Attributes:
        rows: as displayed, after `orientation`.
        columns: as displayed.
        dtype: of its decoded pixels.
        needs_opencv: whether OpenCV has to decode it, because Pillow would reduce it to 8 bits.
        orientation: as EXIF numbers it; 1 is upright.
        number: of a TIFF's directory, counting all from 0.
        offset: of a TIFF's directory.
        white_is_zero: whether a TIFF stores inverted brightness.
    """

    rows: int
    columns: int
    dtype: PixelType
    needs_opencv: bool = False
    orientation: int = 1
    number: int = 0
    offset: int = 0
    white_is_zero: bool = False

    def with_orientation(self, orientation: int) -> "Page":
        """The page with its size as displayed in an orientation."""
        rows, columns = (self.columns, self.rows) if orientation in TRANSPOSED else (self.rows, self.columns)
        return self._replace(rows=rows, columns=columns, orientation=orientation)


def decode_with_pillow(image: Image.Image, page: Page) -> Array:
    """Decode to uint8 or uint16, grey or RGB: alpha is dropped, a palette applied, bilevel becomes 0 and 255.

    Args:
        image: opened, not loaded.
        page: its header.

    Returns:
        (row, column) or (row, column, 3).

    Raises:
        UnreadableImage: Pillow finds another size than the header's, which was the one that was checked.
    """
    if image.width * image.height != page.rows * page.columns:
        raise UnreadableImage("An image is damaged: its header contradicts itself.")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of transparency
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "LA", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if image.mode == "LA":
        return pixels[..., 0]
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def decode_with_opencv(data: UInt8Array) -> Array:
    """Decode the first image in encoded bytes to uint16 or float32, grey or RGB; alpha is dropped.

    Raises:
        UnreadableImage: OpenCV cannot decode it.
    """
    try:
        pixels: Array | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UnreadableImage("An image is damaged; export it again.") from error
    if pixels is None:
        raise UnreadableImage("An image is damaged or cut off; export it again.")
    if pixels.ndim == 3:
        pixels = pixels[..., 2::-1]
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    with np.errstate(over="ignore"):  # infinity is refused by Volume
        return pixels.astype(np.float32)


def apply_orientation(pixels: Array, orientation: int) -> Array:
    """Mirror and rotate an image as a viewer would.

    Args:
        pixels: as stored.
        orientation: as EXIF numbers it.

    Returns:
        A view.
    """
    quarter_turns = {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(orientation, 0)
    mirrored = pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels
    return np.rot90(mirrored, quarter_turns)
