"""Copies the pixels of a DICOM file without what may stand next to them.

Overlays were once kept in the unused bits of pixels, comments are segments of JPEG streams, and a file may have bytes
behind its pixels. The first are cleared, the second overwritten with zeros, so that offsets stay right, the third are
left out. What a decoder shows does not change.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from metseg.errors import UnreadableImage
from metseg.formats.dicom.safe_read import DAMAGED_PIXELS
from metseg.settings import MIB

__all__ = ["copy_pixels"]

CHUNK_BYTES = MIB
MAX_FRAGMENT_BYTES = 64 * MIB
UNDEFINED_LENGTH = 0xFFFFFFFF
DELIMITER_TAG, ITEM_TAG = 0xFFFEE0DD, 0xFFFEE000
START, END, SCAN = 0xD8, 0xD9, 0xDA
COMMENTS = frozenset([*range(0xE0, 0xF0), 0xFE])  # application segments and comments
KNOWN_SEGMENTS = frozenset([*range(0xC0, 0xD0), SCAN, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xF7, 0xF8])
IN_SCAN = re.compile(rb"\xff(?=[\x80-\xcf\xd8-\xfe])")
"""Where coded data end: before a marker that is no restart."""
J2K_TILE, J2K_COMMENT = 0x90, 0x64
J2K_START, J2K_DATA, J2K_END = b"\xff\x4f\xff\x51", b"\xff\x93", b"\xff\xd9"
NOT_WHOLE = "A JPEG 2000 image is not one code stream per frame, so it cannot be de-identified; decompress it."
RLE_HEADER_BYTES, MAX_RLE_SEGMENTS = 64, 15


def copy_pixels(source: BinaryIO, target: BinaryIO, dataset: Dataset, syntax: UID) -> None:
    """Copy the pixel element, at which `source` stands, and nothing that follows it.

    Args:
        source: the file.
        target: takes the element.
        dataset: its cleaned header.
        syntax: the transfer syntax.

    Raises:
        UnreadableImage: the pixels are damaged, cut off, or hold segments that no decoder needs.
    """
    order = "big" if syntax == ExplicitVRBigEndian else "little"
    header = _read_exactly(source, 8)
    if syntax != ImplicitVRLittleEndian:
        if header[4:6] not in (b"OB", b"OW", b"UN", b"OF", b"OD"):
            raise UnreadableImage(DAMAGED_PIXELS)
        header += _read_exactly(source, 4)
    length = int.from_bytes(header[-4:], order)  # type: ignore[arg-type]
    if (length == UNDEFINED_LENGTH) != syntax.is_encapsulated:
        raise UnreadableImage(DAMAGED_PIXELS)
    if length != UNDEFINED_LENGTH:
        size = _native_bytes(dataset)
        if size > length:
            raise UnreadableImage(DAMAGED_PIXELS)
        target.write(header[:-4] + (size + size % 2).to_bytes(4, order))  # type: ignore[arg-type]
        _copy_native(source, target, size, dataset, syntax)
        return
    target.write(header)
    _copy_fragments(source, target, dataset, syntax)


def _native_bytes(dataset: Dataset) -> int:
    return int(dataset.Rows * dataset.Columns * int(dataset.get("NumberOfFrames") or 1) * dataset.BitsAllocated // 8)


def _copy_native(source: BinaryIO, target: BinaryIO, size: int, dataset: Dataset, syntax: UID) -> None:
    """Copy values without the bits that are not theirs, which a decoder ignores."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.get("BitsStored") or dataset.BitsAllocated)
    high = int(dataset.get("HighBit") or stored - 1)
    signed = dataset.get("PixelRepresentation") == 1
    is_plain = not (0 < stored < allocated and stored - 1 <= high < allocated)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dtype = np.dtype(f"{order}{'i' if signed else 'u'}{allocated // 8}")
    for start in range(0, size, CHUNK_BYTES):
        data = _read_exactly(source, min(CHUNK_BYTES, size - start))
        if not is_plain:
            values = np.frombuffer(data, dtype)
            values = (values << (allocated - 1 - high)) >> (allocated - stored) << (high + 1 - stored)
            data = values.astype(dtype).tobytes()
        target.write(data)
    target.write(bytes(size % 2))


def _copy_fragments(source: BinaryIO, target: BinaryIO, dataset: Dataset, syntax: UID) -> None:
    offsets = _offset_table(_read_fragment(source) or b"", int(dataset.get("NumberOfFrames") or 1))
    _write_item(target, offsets)
    is_open = False  # whether the last fragment ended within coded data
    while (fragment := _read_fragment(source)) is not None:
        cleaned = bytearray(fragment)
        if syntax == RLELossless:
            _check_rle(fragment)
        elif syntax in (JPEG2000Lossless, JPEG2000):
            _clear_jpeg_2000(cleaned)
        else:
            is_open = _clear_jpeg(cleaned, is_open)
        _write_item(target, bytes(cleaned))
    target.write(b"\xfe\xff\xdd\xe0" + bytes(4))


def _read_fragment(source: BinaryIO) -> bytes | None:
    """The next item; None at the end of the sequence."""
    item = _read_exactly(source, 8)
    tag, length = int.from_bytes(item[:2], "little") << 16 | int.from_bytes(item[2:4], "little"), item[4:]
    if tag == DELIMITER_TAG:
        return None
    size = int.from_bytes(length, "little")
    if tag != ITEM_TAG or size > MAX_FRAGMENT_BYTES:
        raise UnreadableImage(DAMAGED_PIXELS)
    return _read_exactly(source, size)


def _write_item(target: BinaryIO, data: bytes) -> None:
    target.write(b"\xfe\xff\x00\xe0" + len(data).to_bytes(4, "little") + data)


def _offset_table(data: bytes, frames: int) -> bytes:
    """The offsets of frames, if they are offsets; otherwise an empty table, which is allowed."""
    offsets = np.frombuffer(data, "<u4") if len(data) == 4 * frames else np.zeros(0, "<u4")
    return data if offsets.size and offsets[0] == 0 and (np.diff(offsets.astype(np.int64)) > 0).all() else b""


def _check_rle(fragment: bytes) -> None:
    """Refuse an RLE header with more than the offsets that it declares."""
    count = int.from_bytes(fragment[:4], "little")
    if count > MAX_RLE_SEGMENTS or any(fragment[4 * (count + 1) : RLE_HEADER_BYTES]):
        raise UnreadableImage(DAMAGED_PIXELS)


def _segments(data: bytearray, start: int) -> Iterator[tuple[int, int, int]]:
    """The segments from `start`: marker, start and end of their content; the reader may stop at any."""
    position = start
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise UnreadableImage(DAMAGED_PIXELS)
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if end > len(data) or end < position + 4:
            raise UnreadableImage(DAMAGED_PIXELS)
        yield marker, position + 4, end
        position = end


def _clear_jpeg(data: bytearray, is_open: bool) -> bool:
    """Overwrite comments and application data of a JPEG or JPEG-LS fragment.

    Args:
        data: the fragment, changed in place.
        is_open: whether it continues coded data.

    Returns:
        Whether its coded data continue in the next fragment.
    """
    if not is_open and data[:2] != bytes((0xFF, START)):
        raise UnreadableImage(DAMAGED_PIXELS)
    position = 0 if is_open else 2
    in_scan = is_open
    while position < len(data):
        if in_scan:
            found = IN_SCAN.search(data, position)
            if found is None:
                return True
            position = found.start()
        if data[position : position + 2] == bytes((0xFF, END)):
            data[position + 2 :] = bytes(len(data) - position - 2)
            return False
        marker, start, end = next(_segments(data, position), (0, 0, 0))
        if marker in COMMENTS:
            data[start:end] = bytes(end - start)
        elif marker not in KNOWN_SEGMENTS:
            raise UnreadableImage(DAMAGED_PIXELS)
        in_scan, position = marker == SCAN, end
    return in_scan


def _clear_jpeg_2000(data: bytearray) -> None:
    """Overwrite comments of a JPEG 2000 code stream, which is one fragment."""
    if data[:4] != J2K_START:
        raise UnreadableImage(NOT_WHOLE)
    position = 2
    while data[position : position + 2] != J2K_END:
        tile_end = 0
        for marker, start, end in _segments(data, position):
            if marker == J2K_COMMENT:
                data[start + 2 : end] = bytes(max(end - start - 2, 0))
            elif marker == J2K_TILE:
                tile_end = start - 4 + int.from_bytes(data[start + 2 : start + 6])
                tile_end = tile_end if tile_end > start - 4 else max(data.rfind(J2K_END), end)
            position = end
            if data[end : end + 2] == J2K_DATA:
                break
        if tile_end <= position:
            raise UnreadableImage(DAMAGED_PIXELS)
        if tile_end >= len(data):
            raise UnreadableImage(NOT_WHOLE)
        position = tile_end
    data[position + 2 :] = bytes(len(data) - position - 2)


def _read_exactly(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise UnreadableImage(DAMAGED_PIXELS)
    return data
