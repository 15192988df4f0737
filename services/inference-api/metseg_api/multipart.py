"""A multipart upload on its way to disk: one anonymous file for each request, whatever it holds.

Memory stays constant: a piece is parsed and written before the next one is read. The file has no name, so
that the system frees it with the request, also when the process is killed.
"""

import io
import os
import tempfile
from collections.abc import AsyncIterator
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

from metseg.errors import InvalidParameter, TooManyFiles, Unavailable, UnsupportedFormat, UploadInterrupted
from metseg.seekable import Seekable

IDLE_S = 30.0
PIECE_BYTES = 256 * 1024
"""Parsed and written at once: what a server reads of a socket is less, and a thread for each such read costs more than
what the thread does."""
FIELDS = 8
FIELD_BYTES = 1024
PART_HEADERS = 8
PART_HEADER_BYTES = 4096


@dataclass
class Part:
    """A part of a form as it comes in: a file, whose content goes to the spool, or a field, kept in `value`."""

    name: str
    filename: str | None
    start: int
    size: int = 0
    value: bytes = b""


class Window(Seekable):
    """A stretch of a file as a file of its own: read-only, with a position of its own."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        super().__init__(size)
        self._descriptor, self._start = descriptor, start

    def readinto(self, buffer: Buffer) -> int:
        """Fill `buffer` from the position on, as far as the stretch goes."""
        view = memoryview(buffer).cast("B")[: max(self._size - self._position, 0)]
        count = os.preadv(self._descriptor, [view], self._start + self._position) if view else 0
        self._position += count
        return count


class Spool:
    """Takes the body of a request piece by piece and keeps its parts."""

    def __init__(self, boundary: bytes, max_files: int) -> None:
        self.parts: list[Part] = []
        self._max_files = max_files
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._written = 0
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
            max_header_count=PART_HEADERS,
            max_header_size=PART_HEADER_BYTES,
        )
        self._file = tempfile.TemporaryFile(prefix="metseg-upload-")  # noqa: SIM115 -- __exit__ closes it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def feed(self, piece: bytes) -> None:
        """Parse a piece and write what it holds of files. Blocks on the disk."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise UploadInterrupted("The body is not valid multipart/form-data.") from error
        except OSError as error:
            raise Unavailable("The gateway has no room for the upload at the moment; try again later.") from error

    def finish(self) -> None:
        """Make everything readable, or refuse a body that ended before its closing boundary."""
        if not self._complete:
            raise UploadInterrupted("The body ended before its closing boundary.")
        try:
            self._file.flush()
        except OSError as error:
            raise Unavailable("The gateway has no room for the upload at the moment; try again later.") from error

    def open(self, part: Part) -> BinaryIO:
        """The content of a file part, readable as often as needed while the spool is open."""
        return cast(BinaryIO, io.BufferedReader(Window(self._file.fileno(), part.start, part.size)))

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
        part = Part(_text(options.get(b"name", b"")), None if filename is None else _text(filename), self._written)
        self.parts.append(part)
        files = sum(each.filename is not None for each in self.parts)
        if files > self._max_files:
            raise TooManyFiles(f"A submission may have {self._max_files} files at most.")
        if len(self.parts) - files > FIELDS:
            raise InvalidParameter(f"A submission may have {FIELDS} fields at most beside its files.")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        part.size += end - start
        if part.filename is not None:
            self._written += self._file.write(data[start:end])
        elif part.size > FIELD_BYTES:
            raise InvalidParameter(f"A field may have {FIELD_BYTES} bytes at most.")
        else:
            part.value += data[start:end]

    def _on_end(self) -> None:
        self._complete = True


@asynccontextmanager
async def received(request: Request, max_files: int) -> AsyncIterator[Spool]:
    """The whole multipart body of a request, on disk for the length of the block.

    Raises:
        UnsupportedFormat: the body is of another media type.
        UploadInterrupted: it ended early, paused for too long or is damaged.
        TooManyFiles, InvalidParameter: it has more parts than a submission may have.
    """
    with _spool(request, max_files) as spool:
        stream = request.stream()
        try:
            while piece := await _piece(stream):
                await to_thread.run_sync(spool.feed, piece)
        except ClientDisconnect as error:
            raise UploadInterrupted("The connection ended before the upload did.") from error
        await to_thread.run_sync(spool.finish)
        yield spool


async def _piece(stream: AsyncIterator[bytes]) -> bytes:
    """The next bytes of a body; empty at its end."""
    chunks, size = [], 0
    while size < PIECE_BYTES and (chunk := await _next(stream)) is not None:
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    try:
        with anyio.fail_after(IDLE_S):
            return await anext(stream, None)
    except TimeoutError as error:
        raise UploadInterrupted(f"The upload paused for more than {IDLE_S:g} seconds.") from error


def _spool(request: Request, max_files: int) -> Spool:
    media_type, options = parse_options_header(request.headers.get("Content-Type"))
    if media_type != b"multipart/form-data":
        raise UnsupportedFormat("Send the files as multipart/form-data.")
    try:
        return Spool(options[b"boundary"], max_files)
    except (KeyError, FormParserError) as error:
        raise UploadInterrupted("The Content-Type names no boundary that could end the upload.") from error


def _text(name: bytes) -> str:
    return name.decode("utf-8", errors="replace")
