"""PNG, JPEG and TIFF: the pages of a file by its header, and their pixels.

Pillow decodes up to 8 bits per sample. OpenCV decodes the rest, because Pillow reduces 16-bit colour to 8 bits. Both
include libpng, libjpeg and libtiff, so LZW, deflate and JPEG in a TIFF need no other library.
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
from metseg.formats import jpeg
from metseg.formats.limits import check_sides, check_slice_pixels
from metseg.formats.raster import tiff
from metseg.formats.raster.decoders import DAMAGE, Page, apply_orientation, decode_with_opencv, decode_with_pillow
from metseg.formats.raster.tiff_ifd import read_ifds
from metseg.formats.sniff import Kind
from metseg.imaging import Array
from metseg.settings import Limits

__all__ = ["decode_pages", "read_pages"]

PNG_HEAD_BYTES = 33
PNG_MULTIPLE_SAMPLES = (2, 4, 6)  # colour types
JPEG_HEAD_BYTES = 2**21


def read_pages(kind: Kind, stream: BinaryIO, limits: Limits) -> list[Page]:
    """Read the pages of a file from its header.

    Args:
        kind: of the file.
        stream: its content.
        limits: of one submission.

    Returns:
        The pages in their order; no pixel is decoded.

    Raises:
        UnreadableImage: the header is damaged.
        UnsupportedFormat: the pixels are stored in an unsupported way.
        ImageTooLarge: a page has more pixels than allowed.
        UnusableImage: a page is too small.
        TooManyFiles: a TIFF has far more pages than slices are allowed.
    """
    stream.seek(0)
    header = {"png": _png_header, "jpeg": _jpeg_header, "tiff": tiff.read_tiff_pages}[kind]
    found = []
    for page in header(stream, limits):
        check_slice_pixels(page.rows, page.columns, limits)
        check_sides(page.rows, page.columns)
        found.append(page)
    return found


def decode_pages(kind: Kind, stream: BinaryIO, pages: Sequence[Page]) -> Iterator[Array]:
    """Decode the pages of a file, in the sizes and types that `read_pages` found.

    Args:
        kind: of the file.
        stream: its content.
        pages: to decode.

    Yields:
        (row, column) for a grey page, (row, column, 3) for one in colour.

    Raises:
        UnreadableImage: the content is damaged, cut off, or contradicts its header.
    """
    stream.seek(0)
    decoder = {"png": _decode_png, "jpeg": _decode_jpeg, "tiff": tiff.decode_tiff}[kind]
    for page, pixels in zip(pages, decoder(stream, pages), strict=True):
        if pixels.shape[:2] != (page.rows, page.columns) or pixels.dtype != page.dtype:
            raise UnreadableImage("An image is damaged: its content contradicts its header.")
        yield pixels


def _png_header(stream: BinaryIO, _: Limits) -> Iterator[Page]:
    head = stream.read(PNG_HEAD_BYTES)
    if len(head) < PNG_HEAD_BYTES:
        raise UnreadableImage("A PNG is cut off in its header.")
    length, chunk, columns, rows, bits, colour, checksum = struct.unpack(">8xI4sIIBB3xI", head)
    if (length, chunk) != (13, b"IHDR") or zlib.crc32(head[12:29]) != checksum:
        raise UnreadableImage("The header of a PNG is damaged.")
    needs_opencv = bits == 16 and colour in PNG_MULTIPLE_SAMPLES
    yield Page(rows, columns, "uint16" if bits == 16 else "uint8", needs_opencv)


def _decode_png(stream: BinaryIO, pages: Sequence[Page]) -> Iterator[Array]:
    [page] = pages
    try:
        PngImageFile(stream).verify()  # the checksums, which decoding ignores
        stream.seek(0)
        pixels = (
            decode_with_opencv(np.frombuffer(stream.read(), np.uint8))
            if page.needs_opencv
            else decode_with_pillow(PngImageFile(stream), page)
        )
    except DAMAGE as error:
        raise UnreadableImage("A PNG is damaged or cut off; export it again.") from error
    yield pixels


class _Jpeg(JpegImageFile):
    """A JPEG without EXIF data for Pillow, which warns where they are damaged."""

    def getexif(self) -> Image.Exif:
        """None."""
        return Image.Exif()


def _jpeg_header(stream: BinaryIO, _: Limits) -> Iterator[Page]:
    try:
        image = _Jpeg(BytesIO(stream.read(JPEG_HEAD_BYTES)))
    except DAMAGE as error:
        raise UnreadableImage("The header of a JPEG is damaged or cut off.") from error
    columns, rows = image.size
    yield Page(rows, columns, "uint8").with_orientation(_exif_orientation(image.info.get("exif", b"")))


def _exif_orientation(exif: bytes) -> int:
    """The orientation in a JPEG's EXIF data; 1 where they are damaged."""
    try:
        return next(read_ifds(BytesIO(exif.removeprefix(b"Exif\x00\x00")), max_count=1)).orientation
    except (MetsegError, StopIteration):
        return 1


def _decode_jpeg(stream: BinaryIO, pages: Sequence[Page]) -> Iterator[Array]:
    [page] = pages
    try:
        data = stream.read()
        pixels = decode_with_pillow(_Jpeg(BytesIO(data)), page)
        is_complete = np.array_equal(pixels, decode_with_pillow(_Jpeg(BytesIO(jpeg.with_more_data(data))), page))
    except DAMAGE as error:
        raise UnreadableImage("A JPEG is damaged or cut off; export it again.") from error
    if not is_complete:
        raise UnreadableImage("The data of a JPEG end before its last row; export it again.")
    yield apply_orientation(pixels, page.orientation)
