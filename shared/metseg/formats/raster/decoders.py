"""Pages as headers tell them, and what all decoders of pixels share."""

import struct
import zlib
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from metseg.errors import UnreadableImage

__all__ = ["DAMAGE", "Depth", "Page", "Pixels", "by_opencv", "by_pillow", "upright"]

Depth = Literal["uint8", "uint16", "float32"]
Pixels = npt.NDArray[Any]
SIDEWAYS = (5, 6, 7, 8)

# What Pillow raises for damaged bytes; its warnings are errors only where Python is told so (-W error).
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
    """One slice as its header tells it.

    Attributes:
        rows: as displayed, after `orientation`.
        columns: as displayed.
        depth: the type that its pixels are handed out in.
        deep: whether OpenCV has to decode it, because Pillow would cut it to 8 bits.
        orientation: as EXIF numbers it; 1 is upright.
        number: of a TIFF's directory, counting all from 0.
        offset: of a TIFF's directory.
        white_is_zero: whether a TIFF stores brightness upside down.
    """

    rows: int
    columns: int
    depth: Depth
    deep: bool = False
    orientation: int = 1
    number: int = 0
    offset: int = 0
    white_is_zero: bool = False

    def turned(self, orientation: int) -> "Page":
        """The page as stored, told as it is displayed."""
        rows, columns = (self.columns, self.rows) if orientation in SIDEWAYS else (self.rows, self.columns)
        return self._replace(rows=rows, columns=columns, orientation=orientation)


def by_pillow(image: Image.Image, page: Page) -> Pixels:
    """The picture as uint8 or uint16, grey or RGB: alpha dropped, a palette applied, black and white as 0 and 255.

    Raises:
        UnreadableImage: Pillow has found another size than the header tells, which would not be the allowed one.
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


def by_opencv(data: npt.NDArray[np.uint8]) -> Pixels:
    """The first picture in encoded bytes as uint16 or float32, grey or RGB; alpha is dropped.

    Raises:
        UnreadableImage: OpenCV cannot decode it.
    """
    try:
        pixels: Pixels | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
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


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """The picture as a viewer shows it."""
    turns = {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(orientation, 0)
    mirrored = pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels
    return np.rot90(mirrored, turns)
