"""The voxels of a volume, read forwards and plane by plane, so that no more is decompressed than needed."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import SEEK_END
from typing import Any, BinaryIO, cast

import numpy as np
from isal import igzip, isal_zlib

from metseg.errors import UnreadableImage
from metseg.formats.sequences import NegativeVoxels
from metseg.formats.volumes.header import Compression, VolumeHeader
from metseg.imaging import Array
from metseg.settings import MIB

__all__ = ["open_content", "output_dtype", "read_voxels"]

ISAL_ERROR: type[Exception] = cast(type[Exception], isal_zlib.IsalError)
DAMAGE = (OSError, EOFError, ValueError, OverflowError, zlib.error)
ZLIB_OR_GZIP = zlib.MAX_WBITS | 32
CHUNK_BYTES = 2**16


def read_voxels(stream: BinaryIO, header: VolumeHeader, volume: int, voxels: Array) -> None:
    """Read one volume in the file's order, scaled.

    Args:
        stream: the file with the voxels.
        header: of the volume.
        volume: index of the one to read.
        voxels: where they are written, plane by plane, so that no second copy is in memory; of the header's shape and
            `output_dtype`, such as a view of an array in canonical order.

    Raises:
        UnreadableImage: the file is damaged or cut off.
        NegativeVoxels: `voxels` cannot hold a value of the file.
    """
    dtype = header.dtype
    scaled, refuses_negative = _is_scaled(header), dtype.kind == "i" and voxels.dtype.kind == "u"
    columns, rows, planes = header.shape
    plane_bytes = columns * rows * dtype.itemsize
    start = header.start if header.start >= 0 else stream.seek(0, SEEK_END) - header.content_bytes
    try:
        with open_content(stream, start, header.compression) as content:
            _skip(content, header.offset + volume * header.volume_bytes)
            for index in range(planes):
                stored: Any = np.frombuffer(_read_exactly(content, plane_bytes), dtype).reshape(
                    (columns, rows), order="F"
                )
                if refuses_negative and stored.min() < 0:
                    raise NegativeVoxels
                with np.errstate(over="ignore", invalid="ignore"):  # infinity is refused by Volume
                    voxels[..., index] = stored * header.slope + header.intercept if scaled else stored
            if header.compression is not None:
                content.read(1)  # at the end of the stream its checksum is compared
    except DAMAGE as error:
        raise UnreadableImage(f"A {header.format} file is damaged or cut off; export it again.") from error


def output_dtype(header: VolumeHeader, *, negative: bool) -> "np.dtype[Any]":
    """The type of a volume's voxels: uint8 or uint16 where the file stores these unscaled, else float32.

    Most files of MRI store 16 bits with a sign and have no value below 0: these are uint16 as well.

    Args:
        header: of the volume.
        negative: whether a file with a sign is expected to have values below 0.

    Returns:
        The type.
    """
    native: np.dtype[Any] = header.dtype.newbyteorder("=")
    if native == np.int16 and not negative:
        native = np.dtype(np.uint16)
    return np.dtype(np.float32) if _is_scaled(header) or native not in (np.uint8, np.uint16) else native


def _is_scaled(header: VolumeHeader) -> bool:
    return (header.slope, header.intercept) != (1.0, 0.0)


@contextmanager
def open_content(stream: BinaryIO, start: int, compression: Compression | None) -> Iterator[BinaryIO]:
    """A file's content, decompressed as it is read.

    Args:
        stream: the file.
        start: of the content, in bytes.
        compression: of the content.

    Yields:
        A stream that can be read forwards; OSError, EOFError or zlib.error where it is damaged.

    Raises:
        zlib.error: what is read within the block is damaged.
    """
    stream.seek(start)
    if compression is None:
        yield stream
    elif compression == "zlib":
        yield cast(BinaryIO, _ZlibStream(stream))
    else:
        try:
            with igzip.IGzipFile(fileobj=stream, mode="rb") as plain:  # type: ignore[no-untyped-call]
                yield cast(BinaryIO, plain)
        except ISAL_ERROR as error:
            raise zlib.error(str(error)) from error


class _ZlibStream:
    """A zlib stream, read forwards; it never decompresses more than is asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decompressor = zlib.decompressobj(wbits=ZLIB_OR_GZIP)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the stream."""
        chunks = []
        while size and not self._decompressor.eof:
            packed = self._decompressor.unconsumed_tail or self._stream.read(CHUNK_BYTES)
            chunk = self._decompressor.decompress(packed, size)
            if not packed and not chunk:
                raise EOFError("the stream is cut off")
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)


def _skip(content: BinaryIO, count: int) -> None:
    """Skip bytes of a stream that may not be seekable."""
    while count:
        count -= len(_read_exactly(content, min(count, MIB)))


def _read_exactly(content: BinaryIO, count: int) -> bytes:
    data = content.read(count)
    if len(data) < count:
        raise EOFError("fewer bytes than the header declares")
    return data
