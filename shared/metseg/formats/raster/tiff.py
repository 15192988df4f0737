"""TIFF: the pages of a file by their tags, and their pixels."""

import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from metseg.errors import ImageTooLarge, UnreadableImage, UnsupportedFormat
from metseg.formats.raster.decoders import DAMAGE, Page, PixelType, decode_with_opencv, decode_with_pillow
from metseg.formats.raster.tiff_ifd import Ifd, Tag, read_ifds, set_first_ifd
from metseg.imaging import Array
from metseg.settings import Limits

__all__ = ["decode_tiff", "read_tiff_pages"]

PIXEL_TYPES: dict[tuple[int, int], PixelType] = {  # by sample format (1 unsigned, 2 signed, 3 float) and bits
    **dict.fromkeys([(1, 1), (1, 2), (1, 4), (1, 8)], "uint8"),
    (1, 16): "uint16",
    **dict.fromkeys([(2, 16), (1, 32), (2, 32), (3, 32), (3, 64)], "float32"),
}
UNCOMPRESSED, LZW, JPEG, PACKBITS = 1, 5, 7, 32773
DEFLATE, FAX = (8, 32946), (2, 3, 4)
PILLOW_CODECS = {UNCOMPRESSED, LZW, PACKBITS, JPEG, *DEFLATE, *FAX}
OPENCV_CODECS = {UNCOMPRESSED, LZW, PACKBITS, *DEFLATE}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
ONE_PLANE = 1
REDUCED_OR_MASK = 0b101  # in the tag SubfileType
MAX_SAMPLES = 4
IMAGEJ_SIZE = re.compile(rb"^(images|channels|frames)=([0-9]{1,6})\s*$", re.MULTILINE)
OME_SIZE = re.compile(rb"\b(SizeC|SizeT)=\"([0-9]{1,6})\"")


def read_tiff_pages(stream: BinaryIO, limits: Limits) -> Iterator[Page]:
    """Read the pages of a TIFF from its tags, without thumbnails and transparency masks.

    Args:
        stream: the file.
        limits: of one submission.

    Yields:
        The pages in their order.

    Raises:
        UnreadableImage: the tags are damaged, or there is no page.
        UnsupportedFormat: the pixels are stored in an unsupported way.
        ImageTooLarge: a tile has more pixels than a slice may have.
        TooManyFiles: there are more than twice as many directories as slices allowed.
    """
    ifds = [
        (number, ifd)
        for number, ifd in enumerate(read_ifds(stream, 2 * limits.slices))
        if not ifd.value(Tag.SUBFILE_TYPE, 0) & REDUCED_OR_MASK
    ]
    if not ifds:
        raise UnreadableImage("A TIFF holds no page.")
    _refuse_hyperstack(ifds[0][1], len(ifds))
    for number, ifd in ifds:
        yield _page(number, ifd, limits)


def _refuse_hyperstack(first: Ifd, pages: int) -> None:
    """Refuse pages that are not the slices of one sequence, by what ImageJ or OME says of them."""
    description = first.description
    sizes = {
        key.lower(): int(value) for key, value in [*IMAGEJ_SIZE.findall(description), *OME_SIZE.findall(description)]
    }
    samples = max(first.value(Tag.SAMPLES_PER_PIXEL, 1), 1)  # OME counts colours as channels
    channels = sizes.get(b"channels", sizes.get(b"sizec", 1) // samples)
    times = sizes.get(b"frames", sizes.get(b"sizet", 1))
    images = sizes.get(b"images", pages)
    if times > 1 or (channels > 1 and pages > 1):
        raise UnsupportedFormat(
            f"A TIFF is a hyperstack of {channels} channels and {times} times; save each sequence as a separate "
            "stack (in ImageJ: Image > Color > Split Channels; if these are slices, say so in Image > Properties)."
        )
    if images > max(pages, channels):
        raise UnsupportedFormat(
            f"A TIFF has {images} images by its description but {pages} by its directories; save it as an image "
            "sequence or a ZIP of slices (in ImageJ: File > Save As > Image Sequence)."
        )


def decode_tiff(stream: BinaryIO, pages: Sequence[Page]) -> Iterator[Array]:
    """Decode pages that are all of one type.

    Args:
        stream: the file.
        pages: to decode.

    Returns:
        (row, column) or (row, column, 3) each.

    Raises:
        UnreadableImage: the content is damaged or cut off.
    """
    data = stream.read()
    return _decode_with_opencv(data, pages) if pages[0].needs_opencv else _decode_with_pillow(data, pages)


def _page(number: int, ifd: Ifd, limits: Limits) -> Page:
    if not {Tag.WIDTH, Tag.LENGTH} <= ifd.tags.keys():
        raise UnreadableImage("A TIFF is damaged: a page has no size.")
    if ifd.value(Tag.TILE_WIDTH, 1) * ifd.value(Tag.TILE_LENGTH, 1) > limits.slice_pixels:
        raise ImageTooLarge(f"A tile of a TIFF has more than the {limits.slice_pixels} pixels allowed; scale it down.")
    dtype = _pixel_type(ifd)
    needs_opencv = dtype != "uint8"
    if not (_is_opencv_layout(ifd) if needs_opencv else _is_pillow_layout(ifd)):
        raise UnsupportedFormat(
            "A TIFF stores its pixels in an unsupported way; save it as grey or RGB, uncompressed or with deflate."
        )
    white_is_zero = ifd.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO
    size = ifd.value(Tag.LENGTH, 0), ifd.value(Tag.WIDTH, 0)
    page = Page(*size, dtype, needs_opencv, number=number, offset=ifd.offset, white_is_zero=white_is_zero)
    return page.with_orientation(ifd.orientation)


def _pixel_type(ifd: Ifd) -> PixelType:
    """The type that holds the page's samples; 32 and 64 bits are rounded to float32."""
    kinds = set(ifd.tags.get(Tag.SAMPLE_FORMAT, (1,)))
    bits = set(ifd.tags.get(Tag.BITS_PER_SAMPLE, (1,)))
    dtype = PIXEL_TYPES.get((kinds.pop(), bits.pop()))
    if dtype is None or kinds or bits:
        raise UnsupportedFormat("A TIFF has unsupported samples; save it with 8, 16 or 32 bits per sample.")
    return dtype


def _is_pillow_layout(ifd: Ifd) -> bool:
    return (
        ifd.value(Tag.SAMPLES_PER_PIXEL, 1) <= MAX_SAMPLES and ifd.value(Tag.COMPRESSION, UNCOMPRESSED) in PILLOW_CODECS
    )


def _is_opencv_layout(ifd: Ifd) -> bool:
    samples = ifd.value(Tag.SAMPLES_PER_PIXEL, 1)
    photometric = ifd.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO)
    if samples == 1:
        fits = photometric == BLACK_IS_ZERO or (photometric == WHITE_IS_ZERO and _pixel_type(ifd) == "uint16")
    else:
        one_plane = ifd.value(Tag.PLANAR_CONFIGURATION, ONE_PLANE) == ONE_PLANE
        fits = samples in (3, 4) and photometric == RGB and one_plane
    return fits and ifd.value(Tag.COMPRESSION, UNCOMPRESSED) in OPENCV_CODECS


def _decode_with_pillow(data: bytes, pages: Sequence[Page]) -> Iterator[Array]:
    """By Pillow, which applies the orientation tag."""
    try:
        image = TiffImageFile(BytesIO(data))
        for page in pages:
            image.seek(page.number)
            yield decode_with_pillow(image, page)
    except Image.DecompressionBombError as error:  # Pillow's own limit, where ours is higher
        raise ImageTooLarge("A TIFF has more pixels than can be decoded; scale it down.") from error
    except DAMAGE as error:
        raise UnreadableImage("A TIFF is damaged or cut off; export it again.") from error


def _decode_with_opencv(data: bytes, pages: Sequence[Page]) -> Iterator[Array]:
    """By OpenCV, which applies the orientation tag, too. It finds only the first page fast, so each is made first."""
    buffer = np.frombuffer(bytearray(data), np.uint8)
    for page in pages:
        set_first_ifd(buffer.data, page.offset)
        pixels = decode_with_opencv(buffer)
        yield np.iinfo(np.uint16).max - pixels if page.white_is_zero else pixels
