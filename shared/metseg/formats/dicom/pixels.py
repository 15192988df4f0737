"""The pixels of a stack: decoded file by file, rescaled, never larger than the headers declare.

Every compressed syntax has one decoder, chosen here: Pillow for baseline JPEG, GDCM for extended and lossless JPEG,
CharLS for JPEG-LS, OpenJPEG for JPEG 2000, pydicom's own for RLE. A decoder allocates the size in the code stream, so
this is compared with the header first. Windows are for display and are not applied.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from metseg.errors import UnreadableImage, UnsupportedFormat
from metseg.formats import jpeg
from metseg.formats.dicom.header_values import get_number
from metseg.formats.dicom.instances import Frame, Instance
from metseg.formats.dicom.safe_read import DAMAGED_PIXELS, read_with_pixels, translate_errors
from metseg.formats.dicom.stacks import Stack
from metseg.formats.sequences import NegativeVoxels
from metseg.imaging import Array, Mask

__all__ = ["SUPPORTED_SYNTAXES", "decode_stack", "output_dtype"]

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
DECODERS: Mapping[UID, str] = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "gdcm",  # of 8 bits; no decoder with a permissive licence is reliable with 12
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    RLELossless: "pydicom",
}
SUPPORTED_SYNTAXES = frozenset([*NATIVE, *DECODERS])
TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "FloatPixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)
JPEG_START, J2K_SIZE = b"\xff\xd8", b"\xff\x4f\xff\x51"
FRAME_HEADERS = frozenset([*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7])
"""Markers of JPEG and JPEG-LS whose segment has the size of the frame."""
MAX_MARKERS = 64


def decode_stack(stack: Stack, values: Array) -> None:
    """Decode a stack; padding, which the header declares, and the slices of a gap get the lowest value of the others.

    Args:
        stack: of frames.
        values: where they are written, (frame, row, column), so that no second copy is in memory; of the stack's shape
            and `output_dtype`, such as a view of an array in canonical order.

    Raises:
        UnreadableImage: a file is damaged, or its pixels have another size or type than its header declares.
        UnsupportedFormat: the transfer syntax is not supported.
        NegativeVoxels: `values` cannot hold a value of a file.
    """
    padding: dict[int, Mask] = {}
    for instance, frames in _group_by_file(stack).items():
        for index, frame, stored, padded in _decode_frames(instance, frames):
            fitting = stored if values.dtype.kind == "f" else _as_unsigned(stored, padded, values.dtype)
            with np.errstate(over="ignore", invalid="ignore"):  # overflow is refused later as not finite
                values[index] = _rescale(fitting, frame, instance.inverted, values.dtype)
            if padded is not None:
                padding[index] = padded
    _fill(values, padding, stack.indices)


def _as_unsigned(stored: Array, padded: Mask | None, dtype: np.dtype[Any]) -> Array:
    """Stored values as the unsigned type that they were expected to fit; padding is of no matter."""
    if (stored.dtype.kind, stored.dtype.itemsize) == ("i", dtype.itemsize):
        signal = stored if padded is None else stored[~padded]
        if signal.size and signal.min() < 0:
            raise NegativeVoxels
        return stored.astype(dtype)
    if not np.can_cast(stored.dtype, dtype):
        raise UnreadableImage(DAMAGED_PIXELS)
    return stored


def _fill(values: Array, padding: Mapping[int, Mask], indices: Sequence[int]) -> None:
    """Set padding, and the slices that are not among `indices`, to the lowest value of all others."""
    gaps = sorted(set(range(len(values))) - set(indices))
    if not padding and not gaps:
        return
    signal = (values[index][~padding[index]] if index in padding else values[index] for index in indices)
    lowest = min((each.min() for each in signal if each.size), default=values.dtype.type(0))
    for index, padded in padding.items():
        values[index][padded] = lowest
    values[gaps] = lowest


def _group_by_file(stack: Stack) -> dict[Instance, list[tuple[int, Frame]]]:
    """The frames of each file with their indices in the stack, so that each file is opened once."""
    files: dict[Instance, list[tuple[int, Frame]]] = {}
    for index, member in zip(stack.indices, stack.members, strict=True):
        files.setdefault(member.instance, []).append((index, member.frame))
    return files


def _decode_frames(
    instance: Instance, frames: list[tuple[int, Frame]]
) -> Iterator[tuple[int, Frame, Array, Mask | None]]:
    """Each frame's index in the stack, header, stored values and, if there is any, padding."""
    if instance.syntax not in SUPPORTED_SYNTAXES:
        raise UnsupportedFormat("A DICOM file is compressed in a way that cannot be read; export it uncompressed.")
    with instance.file.open() as stream:
        with translate_errors(DAMAGED_PIXELS):
            dataset = read_with_pixels(stream, TAGS)
        for index, frame in frames:
            plugin = DECODERS.get(instance.syntax, "")
            if plugin:
                _check_code_stream(dataset, instance, frame)
            with translate_errors(DAMAGED_PIXELS):
                stored = pixel_array(dataset, index=frame.number, decoding_plugin=plugin)
            if stored.shape != (instance.rows, instance.columns):
                raise UnreadableImage(DAMAGED_PIXELS)
            yield index, frame, stored, _padding(dataset, stored)


def _padding(dataset: Dataset, stored: Array) -> Mask | None:
    """Where values are the declared padding, or lie in its range (PS3.3 C.7.5.1.1.2); None where nowhere."""
    first = _as_stored(dataset.get("PixelPaddingValue"), stored.dtype)
    if first is None or stored.dtype.kind not in "iu":
        return None
    last = _as_stored(dataset.get("PixelPaddingRangeLimit"), stored.dtype)
    low, high = sorted((first, first if last is None else last))
    padded: Mask = (stored >= low) & (stored <= high)
    return padded if padded.any() else None


def _as_stored(value: object, dtype: np.dtype[Any]) -> int | None:
    """A declared value as a stored one, whether its type is the signed or the unsigned one."""
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little") if value else None
    if not isinstance(value, int | float | str):
        return None
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        return None
    modulus = 1 << (8 * int(dtype.itemsize))
    number %= modulus
    return number - modulus if dtype.kind == "i" and number >= modulus // 2 else number


def output_dtype(stack: Stack, *, negative: bool) -> np.dtype[Any]:
    """The type of a stack's values: uint8 or uint16 where headers say that these are stored unscaled, else float32.

    Args:
        stack: of frames.
        negative: whether 16 bits with a sign are expected to have values below 0; if not, they are uint16 as well.

    Returns:
        The type.
    """
    stored = np.result_type(*(f"{'iu'[not one.instance.signed]}{one.instance.bits // 8}" for one in stack.members))
    unscaled = all(member.frame.slope == 1 and member.frame.intercept == 0 for member in stack.members)
    inverted = any(member.instance.inverted for member in stack.members)
    if stored == np.int16 and not negative:
        stored = np.dtype(np.uint16)
    unsigned = stored in (np.uint8, np.uint16)
    return np.dtype(stored) if unscaled and unsigned and not inverted else np.dtype(np.float32)


def _rescale(stored: Array, frame: Frame, inverted: bool, dtype: np.dtype[Any]) -> Array:
    if dtype.kind != "f":
        return stored
    values = stored * frame.slope + frame.intercept
    return (-values if inverted else values).astype(dtype)


def _check_code_stream(dataset: Dataset, instance: Instance, frame: Frame) -> None:
    """Refuse a code stream of another size than the header's, or one of which data are missing."""
    if instance.syntax == RLELossless:
        return
    count = len(instance.frames)
    with translate_errors(DAMAGED_PIXELS):
        code_stream = get_frame(dataset.PixelData, frame.number, number_of_frames=count)
    size = _code_stream_size(code_stream)
    if size != (instance.rows, instance.columns):
        raise UnreadableImage(DAMAGED_PIXELS)
    if instance.syntax == JPEGBaseline8Bit:
        with translate_errors(DAMAGED_PIXELS):
            complete = jpeg.is_complete(code_stream)
        if not complete:
            raise UnreadableImage(DAMAGED_PIXELS)
    if instance.syntax == JPEGExtended12Bit and get_number(dataset, "BitsStored") != 8:
        raise UnsupportedFormat("A DICOM file is compressed as JPEG of 12 bits, which cannot be read; decompress it.")


def _code_stream_size(code_stream: bytes) -> tuple[int, int] | None:
    """Rows and columns in the header of a JPEG, JPEG-LS or JPEG 2000 code stream."""
    if code_stream.startswith(JPEG_START):
        return _jpeg_size(code_stream)
    start = code_stream.find(J2K_SIZE, 0, 4096)  # in a JP2 file, boxes stand before it
    if start < 0 or len(code_stream) < start + 24:
        return None
    fields = (code_stream[start + offset : start + offset + 4] for offset in (8, 12, 16, 20))
    columns, rows, left, top = map(int.from_bytes, fields)
    return rows - top, columns - left


def _jpeg_size(code_stream: bytes) -> tuple[int, int] | None:
    stream = BytesIO(code_stream)
    stream.seek(2)
    for _ in range(MAX_MARKERS):
        marker = stream.read(4)
        if len(marker) < 4 or marker[0] != 0xFF:
            return None
        if marker[1] in FRAME_HEADERS:
            segment = stream.read(5)
            return int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5])
        stream.seek(int.from_bytes(marker[2:4]) - 2, 1)
    return None
