"""Multipart forms, parsed to disk while they are received: one anonymous temporary file per request.

Memory stays constant, since each chunk is parsed and written before the next one is read. The file has no name, so
that the system frees it with the request, even if the process is killed. Starlette's own parser would open a temporary
file for each upload.
"""

import io
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO, Self, cast

import anyio
from anyio import to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from typing_extensions import Buffer

from metseg.errors import (
    InvalidParameter,
    StorageFull,
    TooManyFiles,
    Unavailable,
    UnsupportedFormat,
    UploadInterrupted,
)
from metseg.seekable import Seekable

MAX_IDLE_S = 30.0
CHUNK_BYTES = 256 * 1024
"""Parsed and written at once: a server reads less from a socket at a time, and a thread per such read costs more than
the parsing."""
MAX_CHUNK_S = 60.0
"""For a whole chunk to arrive, so that a byte now and then does not hold a connection and a file: 4 KiB per second."""
ALLOCATED_STEP_BYTES = 16 * 1024 * 1024
"""Of a body that announces no size, taken from the disk at a time."""
MAX_FIELDS = 8
MAX_FIELD_BYTES = 1024
MAX_PART_HEADERS = 8
MAX_PART_HEADER_BYTES = 4096

logging.getLogger("python_multipart").setLevel(logging.CRITICAL + 1)  # its warnings quote the body


@dataclass
class Part:
    """A part of a form: a file, whose content starts at `offset` of the temporary file, or a field with a value."""

    name: str
    filename: str | None
    offset: int
    size: int = 0
    value: bytes = b""


class PartFile(Seekable):
    """The part of a file that holds one upload, as a read-only file with its own position."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        super().__init__(size)
        self._descriptor, self._offset = descriptor, offset

    def readinto(self, buffer: Buffer) -> int:
        """Fill `buffer` from the current position, up to the end of the part."""
        view = memoryview(buffer).cast("B")[: max(self._size - self._position, 0)]
        count = os.preadv(self._descriptor, [view], self._offset + self._position) if view else 0
        self._position += count
        return count


class MultipartForm:
    """A form that is parsed chunk by chunk.

    Args:
        boundary: from the Content-Type.
        max_files: more of them are refused.

    Attributes:
        parts: those received so far.
    """

    def __init__(self, boundary: bytes, max_files: int) -> None:
        self.parts: list[Part] = []
        self._max_files = max_files
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._written_bytes = 0
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER_BYTES,
        )
        self._file = tempfile.TemporaryFile(prefix="metseg-upload-")  # noqa: SIM115 -- __exit__ closes it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def allocate(self, size: int) -> None:
        """Take disk space for the content before it arrives; StorageFull. All processes then see it as used.

        Args:
            size: in bytes, from the start.
        """
        try:
            os.posix_fallocate(self._file.fileno(), 0, size)
        except OSError as error:
            raise StorageFull("Too little disk space is left for this upload; try again later.") from error

    def write(self, chunk: bytes) -> None:
        """Parse a chunk and write the file content in it. Blocks on the disk."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise UploadInterrupted("The body is not valid multipart/form-data.") from error
        except OSError as error:
            raise _no_space() from error

    def finalize(self) -> None:
        """Make all parts readable; refuse a body that ended before its closing boundary."""
        if not self._complete:
            raise UploadInterrupted("The body ended before its closing boundary.")
        try:
            self._file.flush()
        except OSError as error:
            raise _no_space() from error

    def open(self, part: Part) -> BinaryIO:
        """The content of a file part; it can be opened repeatedly while the form is open."""
        return cast(BinaryIO, io.BufferedReader(PartFile(self._file.fileno(), part.offset, part.size)))

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        filename = options.get(b"filename")
        name = _decode(options.get(b"name", b""))
        self.parts.append(Part(name, None if filename is None else _decode(filename), self._written_bytes))
        files = sum(each.filename is not None for each in self.parts)
        if files > self._max_files:
            raise TooManyFiles(f"A submission may have {self._max_files} files at most.")
        if len(self.parts) - files > MAX_FIELDS:
            raise InvalidParameter(f"A submission may have {MAX_FIELDS} fields at most in addition to its files.")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        part.size += end - start
        if part.filename is not None:
            self._written_bytes += self._file.write(data[start:end])
        elif part.size > MAX_FIELD_BYTES:
            raise InvalidParameter(f"A field may have {MAX_FIELD_BYTES} bytes at most.")
        else:
            part.value += data[start:end]

    def _on_end(self) -> None:
        self._complete = True


@asynccontextmanager
async def receive_form(
    request: Request, max_files: int, check_disk: Callable[[], None] = lambda: None
) -> AsyncIterator[MultipartForm]:
    """Receive the multipart body of a request, once there is disk space for all that is announced.

    Args:
        request: the request.
        max_files: more of them are refused.
        check_disk: called after disk space was taken; it raises StorageFull if too little is left.

    Yields:
        The whole form, on disk until the block ends.

    Raises:
        UnsupportedFormat: the body has another media type.
        UploadInterrupted: it ended early, is too slow or is damaged.
        TooManyFiles, InvalidParameter: it has more parts than a submission may have.
        StorageFull: there is too little disk space.
    """

    def allocate(size: int) -> None:
        form.allocate(size)
        check_disk()

    with _form(request, max_files) as form:
        stream, received, allocated = request.stream(), 0, announced_bytes(request)
        try:
            if allocated:
                await to_thread.run_sync(allocate, allocated)
            while chunk := await _read_chunk(stream):
                received += len(chunk)
                if received > allocated:  # nothing was announced
                    allocated = received + ALLOCATED_STEP_BYTES
                    await to_thread.run_sync(allocate, allocated)
                await to_thread.run_sync(form.write, chunk)
        except ClientDisconnect as error:
            raise UploadInterrupted("The connection ended before the upload did.") from error
        await to_thread.run_sync(form.finalize)
        yield form


def announced_bytes(request: Request) -> int:
    """The size of a body by its Content-Length; 0 if it has none."""
    header = request.headers.get("Content-Length", "")
    return int(header) if header.isdecimal() else 0


async def _read_chunk(stream: AsyncIterator[bytes]) -> bytes:
    """The next bytes of a body; empty at its end."""
    messages, size = [], 0
    try:
        with anyio.fail_after(MAX_CHUNK_S):
            while size < CHUNK_BYTES and (message := await _read_message(stream)) is not None:
                messages.append(message)
                size += len(message)
    except TimeoutError as error:
        rate = CHUNK_BYTES / 1024 / MAX_CHUNK_S
        raise UploadInterrupted(f"The upload is slower than {rate:.0f} KiB per second.") from error
    return b"".join(messages)


async def _read_message(stream: AsyncIterator[bytes]) -> bytes | None:
    try:
        with anyio.fail_after(MAX_IDLE_S):
            return await anext(stream, None)
    except TimeoutError as error:
        raise UploadInterrupted(f"The upload paused for more than {MAX_IDLE_S:g} seconds.") from error


def _form(request: Request, max_files: int) -> MultipartForm:
    media_type, options = parse_options_header(request.headers.get("Content-Type"))
    if media_type != b"multipart/form-data":
        raise UnsupportedFormat("Send the files as multipart/form-data.")
    try:
        return MultipartForm(options[b"boundary"], max_files)
    except (KeyError, FormParserError) as error:
        raise UploadInterrupted("The Content-Type has no valid boundary.") from error


def _no_space() -> Unavailable:
    return Unavailable("The gateway has no room for the upload at the moment; try again later.")


def _decode(name: bytes) -> str:
    return name.decode("utf-8", errors="replace")
