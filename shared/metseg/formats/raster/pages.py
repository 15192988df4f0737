"""PNG, JPEG and TIFF: the pages of a file by its header, and their pixels.

Pillow decodes what has up to 8 bits a sample. OpenCV decodes the rest, because Pillow cuts 16-bit colour to
8 bits. Both bring libpng, libjpeg and libtiff along, so that LZW, deflate and JPEG in a TIFF need no more.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from metseg.errors import MetsegError, UnreadableImage
from metseg.formats.limits import check_sides, check_slice_pixels
from metseg.formats.raster import tiff
from metseg.formats.raster.decoders import DAMAGE, Page, Pixels, by_opencv, by_pillow, upright
from metseg.formats.raster.tiff_ifd import directories
from metseg.formats.sniff import Kind
from metseg.settings import Limits

__all__ = ["decode", "pages"]

PNG_HEAD_BYTES = 33
PNG_SEVERAL_SAMPLES = (2, 4, 6)  # colour types
JPEG_HEAD_BYTES = 2**21


def pages(kind: Kind, stream: BinaryIO, limits: Limits) -> list[Page]:
    """The pages of a file, told from its header alone.

    Raises:
        UnreadableImage: the header is damaged.
        UnsupportedFormat: the pixels are stored in a way that is not decoded.
        ImageTooLarge: a page has more pixels than allowed.
        UnusableImage: a page is too small.
        TooManyFiles: a TIFF has far more pages than slices are allowed.
    """
    stream.seek(0)
    header = {"png": _png_header, "jpeg": _jpeg_header, "tiff": tiff.headers}[kind]
    found = []
    for page in header(stream, limits):
        check_slice_pixels(page.rows, page.columns, limits)
        check_sides(page.rows, page.columns)
        found.append(page)
    return found


def decode(kind: Kind, stream: BinaryIO, wanted: Sequence[Page]) -> Iterator[Pixels]:
    """The pixels of the pages of a file, in the sizes and types that `pages` told.

    Yields:
        (row, column) for a grey page, (row, column, 3) for a coloured one.

    Raises:
        UnreadableImage: the content is damaged, cut off, or contradicts its header.
    """
    stream.seek(0)
    decoder = {"png": _decode_png, "jpeg": _decode_jpeg, "tiff": tiff.decode}[kind]
    for page, pixels in zip(wanted, decoder(stream, wanted), strict=True):
        if pixels.shape[:2] != (page.rows, page.columns) or pixels.dtype != page.depth:
            raise UnreadableImage("An image is damaged: its content contradicts its header.")
        yield pixels


def _png_header(stream: BinaryIO, _: Limits) -> Iterator[Page]:
    head = stream.read(PNG_HEAD_BYTES)
    if len(head) < PNG_HEAD_BYTES:
        raise UnreadableImage("A PNG is cut off in its header.")
    length, chunk, columns, rows, bits, colour, checksum = struct.unpack(">8xI4sIIBB3xI", head)
    if (length, chunk) != (13, b"IHDR") or zlib.crc32(head[12:29]) != checksum:
        raise UnreadableImage("The header of a PNG is damaged.")
    deep = bits == 16 and colour in PNG_SEVERAL_SAMPLES
    yield Page(rows, columns, "uint16" if bits == 16 else "uint8", deep)


def _decode_png(stream: BinaryIO, wanted: Sequence[Page]) -> Iterator[Pixels]:
    [page] = wanted
    try:
        PngImageFile(stream).verify()  # the checksums, which decoding leaves alone
        stream.seek(0)
        pixels = (
            by_opencv(np.frombuffer(stream.read(), np.uint8)) if page.deep else by_pillow(PngImageFile(stream), page)
        )
    except DAMAGE as error:
        raise UnreadableImage("A PNG is damaged or cut off; export it again.") from error
    yield pixels


class _Jpeg(JpegImageFile):
    """A JPEG whose EXIF data Pillow leaves alone: it warns of damaged ones, which matter to nobody."""

    def getexif(self) -> Image.Exif:
        """None."""
        return Image.Exif()


def _jpeg_header(stream: BinaryIO, _: Limits) -> Iterator[Page]:
    try:
        image = _Jpeg(BytesIO(stream.read(JPEG_HEAD_BYTES)))
    except DAMAGE as error:
        raise UnreadableImage("The header of a JPEG is damaged or cut off.") from error
    columns, rows = image.size
    yield Page(rows, columns, "uint8").turned(_exif_orientation(image.info.get("exif", b"")))


def _exif_orientation(exif: bytes) -> int:
    """The orientation that a JPEG's EXIF data tell; damaged EXIF data tell none."""
    try:
        return next(directories(BytesIO(exif.removeprefix(b"Exif\x00\x00")), most=1)).orientation
    except (MetsegError, StopIteration):
        return 1


def _decode_jpeg(stream: BinaryIO, wanted: Sequence[Page]) -> Iterator[Pixels]:
    [page] = wanted
    try:
        pixels = by_pillow(_Jpeg(stream), page)
    except DAMAGE as error:
        raise UnreadableImage("A JPEG is damaged or cut off; export it again.") from error
    yield upright(pixels, page.orientation)
