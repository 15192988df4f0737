"""TIFF: the pages of a file by their tags, and their pixels."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from metseg.errors import ImageTooLarge, UnreadableImage, UnsupportedFormat
from metseg.formats.raster.decoders import DAMAGE, Depth, Page, Pixels, by_opencv, by_pillow
from metseg.formats.raster.tiff_ifd import Directory, Tag, directories, point_to
from metseg.settings import Limits

__all__ = ["decode", "headers"]

DEPTHS: dict[tuple[int, int], Depth] = {  # by sample format (1 unsigned, 2 signed, 3 float) and bits
    **dict.fromkeys([(1, 1), (1, 2), (1, 4), (1, 8)], "uint8"),
    (1, 16): "uint16",
    **dict.fromkeys([(2, 16), (1, 32), (2, 32), (3, 32), (3, 64)], "float32"),
}
UNCOMPRESSED, LZW, JPEG, PACKBITS = 1, 5, 7, 32773
DEFLATE, FAX = (8, 32946), (2, 3, 4)
SHALLOW_CODECS = {UNCOMPRESSED, LZW, PACKBITS, JPEG, *DEFLATE, *FAX}
DEEP_CODECS = {UNCOMPRESSED, LZW, PACKBITS, *DEFLATE}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
ONE_PLANE = 1
REDUCED_OR_MASK = 0b101  # in the tag SubfileType
MOST_SAMPLES = 4


def headers(stream: BinaryIO, limits: Limits) -> Iterator[Page]:
    """The pages of a TIFF; thumbnails and transparency masks are passed over.

    Raises:
        UnreadableImage: the tags are damaged, or there is no page.
        UnsupportedFormat: the pixels are stored in a way that is not decoded.
        ImageTooLarge: a tile has more pixels than a slice may have.
        TooManyFiles: there are more than twice as many directories as slices are allowed.
    """
    empty = True
    for number, directory in enumerate(directories(stream, 2 * limits.slices)):
        if not directory.value(Tag.SUBFILE_TYPE, 0) & REDUCED_OR_MASK:
            empty = False
            yield _page(number, directory, limits)
    if empty:
        raise UnreadableImage("A TIFF holds no page.")


def decode(stream: BinaryIO, wanted: Sequence[Page]) -> Iterator[Pixels]:
    """The pixels of pages that are all of one depth.

    Raises:
        UnreadableImage: the content is damaged or cut off.
    """
    data = stream.read()
    return _decode_deep(data, wanted) if wanted[0].deep else _decode_shallow(data, wanted)


def _page(number: int, directory: Directory, limits: Limits) -> Page:
    if not {Tag.WIDTH, Tag.LENGTH} <= directory.tags.keys():
        raise UnreadableImage("A TIFF is damaged: a page tells no size.")
    if directory.value(Tag.TILE_WIDTH, 1) * directory.value(Tag.TILE_LENGTH, 1) > limits.slice_pixels:
        raise ImageTooLarge(f"A tile of a TIFF has more than the {limits.slice_pixels} pixels allowed; scale it down.")
    depth = _depth(directory)
    deep = depth != "uint8"
    if not (_is_deep_layout(directory) if deep else _is_shallow_layout(directory)):
        raise UnsupportedFormat(
            "A TIFF stores its pixels in a way that is not read; save it as grey or RGB, uncompressed or with deflate."
        )
    white_is_zero = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO
    size = directory.value(Tag.LENGTH, 0), directory.value(Tag.WIDTH, 0)
    page = Page(*size, depth, deep, number=number, offset=directory.offset, white_is_zero=white_is_zero)
    return page.turned(directory.orientation)


def _depth(directory: Directory) -> Depth:
    """The type that holds the page's samples without loss (32 and 64 bits are rounded to float32)."""
    kinds = set(directory.tags.get(Tag.SAMPLE_FORMAT, (1,)))
    bits = set(directory.tags.get(Tag.BITS_PER_SAMPLE, (1,)))
    depth = DEPTHS.get((kinds.pop(), bits.pop()))
    if depth is None or kinds or bits:
        raise UnsupportedFormat("A TIFF has samples that are not read; save it with 8, 16 or 32 bits a sample.")
    return depth


def _is_shallow_layout(directory: Directory) -> bool:
    return (
        directory.value(Tag.SAMPLES_PER_PIXEL, 1) <= MOST_SAMPLES
        and directory.value(Tag.COMPRESSION, UNCOMPRESSED) in SHALLOW_CODECS
    )


def _is_deep_layout(directory: Directory) -> bool:
    samples = directory.value(Tag.SAMPLES_PER_PIXEL, 1)
    photometric = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO)
    if samples == 1:
        fits = photometric == BLACK_IS_ZERO or (photometric == WHITE_IS_ZERO and _depth(directory) == "uint16")
    else:
        one_plane = directory.value(Tag.PLANAR_CONFIGURATION, ONE_PLANE) == ONE_PLANE
        fits = samples in (3, 4) and photometric == RGB and one_plane
    return fits and directory.value(Tag.COMPRESSION, UNCOMPRESSED) in DEEP_CODECS


def _decode_shallow(data: bytes, wanted: Sequence[Page]) -> Iterator[Pixels]:
    """By Pillow, which turns a page upright by its tag."""
    try:
        image = TiffImageFile(BytesIO(data))
        for page in wanted:
            image.seek(page.number)
            yield by_pillow(image, page)
    except Image.DecompressionBombError as error:  # Pillow's own limit, where ours is set above it
        raise ImageTooLarge("A TIFF has more pixels than can be decoded; scale it down.") from error
    except DAMAGE as error:
        raise UnreadableImage("A TIFF is damaged or cut off; export it again.") from error


def _decode_deep(data: bytes, wanted: Sequence[Page]) -> Iterator[Pixels]:
    """By OpenCV, which turns a page upright, too; only the first is quick to find, so each becomes it in its turn."""
    buffer = np.frombuffer(bytearray(data), np.uint8)
    for page in wanted:
        point_to(buffer.data, page.offset)
        pixels = by_opencv(buffer)
        yield np.iinfo(np.uint16).max - pixels if page.white_is_zero else pixels
