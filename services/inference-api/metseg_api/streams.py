"""Responses with files: streamed from the store as they are stored, or converted, with ETags for caches."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Literal, NamedTuple, Self

import anyio
from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from metseg.errors import ProcessingFailed
from metseg.jobs import Artefact
from metseg.results.exports import Export, Writer, renderer_revision
from metseg_api import spool
from metseg_api.gateway import Gateway
from metseg_api.stored_job import JobView, StoredJob


class File(NamedTuple):
    """A file of a job, as a response describes it.

    Attributes:
        job: whose file it is.
        source: the stored artefact that it is or is made of.
        media_type: of the response.
        file_name: without the job's ID, which is put before it.
        disposition: whether a browser saves or displays it.
    """

    job: StoredJob
    source: str
    media_type: str
    file_name: str
    disposition: Literal["attachment", "inline"] = "attachment"

    @classmethod
    def of(cls, job: StoredJob, export: Export, source: str) -> Self:
        """The file of an export.

        Args:
            job: whose file it is.
            export: which.
            source: the stored artefact that it is or is made of.

        Returns:
            Its description.
        """
        return cls(job, source, export.media_type, export.file_name, export.disposition)


class ChunkedResponse(StreamingResponse):
    """Sends chunks as the client reads them; what they come from is released however the response ends.

    Args:
        source: of the chunks: an object's, with the store's connection, or a temporary file's.
        headers: of the response.
        media_type: of the response.

    Attributes:
        on_sent: called at the end of the response.
    """

    def __init__(
        self, source: AbstractContextManager[Iterator[bytes]], headers: dict[str, str], media_type: str
    ) -> None:
        self.on_sent: Callable[[], None] = lambda: None
        self._source = source
        super().__init__(source.__enter__(), headers=headers, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as in ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.on_sent()
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._source.__exit__, None, None, None)


async def export_response(
    gateway: Gateway, request: Request, view: JobView, export: Export, headers: Mapping[str, str] | None = None
) -> Response:
    """An export of a job: streamed if it is stored in that form, otherwise converted.

    Args:
        gateway: the gateway.
        request: the request for it.
        view: which job, and whether as reviewed.
        export: which.
        headers: more headers.

    Returns:
        The file; 304 if the client's copy is current.
    """
    job = StoredJob(gateway, view)

    def look_up() -> tuple[str, bool]:
        """The artefact that the export is made of, and whether it is the export."""
        if export.structure is None and export.format != "nifti":
            return export.source, export.is_stored
        result = job.result()
        return export.source_of(result), export.is_copy(result)

    source, is_stored = await to_thread.run_sync(look_up)
    file = File.of(job, export, source)
    if is_stored:
        return await stored_response(gateway, request, file)
    return await converted_response(
        gateway, request, file, export.write, quick=export.kind == "lesions", headers=headers
    )


async def stored_response(gateway: Gateway, request: Request, file: File) -> Response:
    """A file as it is in the store.

    Args:
        gateway: the gateway.
        request: the request for it.
        file: which.

    Returns:
        The file; 304 if the client's copy is current.
    """

    def respond() -> Response:
        (part, etag), artefact = file.job.stat(file.source), file.job.results.artefact(file.source)
        headers = file_headers(file, etag)
        if artefact is not None:
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(artefact.sha256)).decode()}:"
        if is_current(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        headers["Content-Length"] = str(part.size)
        content = gateway.store.stream(*part)
        return ChunkedResponse(content if artefact is None else _verified(content, artefact), headers, file.media_type)

    return await to_thread.run_sync(respond)


async def converted_response(
    gateway: Gateway,
    request: Request,
    file: File,
    write: Writer,
    *,
    slices: int | None = None,
    quick: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A file that is made for each request, on disk, and sent from there as the client reads it.

    Args:
        gateway: the gateway.
        request: the request for it.
        file: which; it changes only with its source, the review, and the code that renders it.
        write: makes it.
        slices: how many of the source are read for it; None: all.
        quick: whether that takes no longer than fetching it, so that it need not wait behind slow conversions.
        headers: more headers.

    Returns:
        The file; 304 if the client's copy is current.

    Raises:
        TooManyDownloads: the caller's other downloads do not end.
        StorageFull: the file would fill the disk beyond the reserve.
    """
    etag = await to_thread.run_sync(rendered_etag, file.job, file.source, file.file_name)
    all_headers = file_headers(file, etag) | dict(headers or {})
    if is_current(request, all_headers["ETag"]):
        return Response(status_code=304, headers=all_headers)
    key = key_name(request)
    await gateway.downloads.acquire(key)
    with ExitStack() as stack:
        stack.callback(gateway.downloads.release, key)
        voxels = 0 if quick else await to_thread.run_sync(_voxels, file, slices)
        spool.check_free_disk(gateway.settings, voxels)
        async with gateway.conversions.hold(voxels):
            limiter = None if quick else gateway.threads.conversions
            content = await to_thread.run_sync(spool.make, write, file.job, limiter=limiter)
        all_headers["Content-Length"] = str(content.size)
        response = ChunkedResponse(content.chunks(), all_headers, file.media_type)
        response.on_sent = stack.pop_all().close
    return response


@contextmanager
def _verified(source: AbstractContextManager[Iterator[bytes]], artefact: Artefact) -> Iterator[Iterator[bytes]]:
    """The chunks of an artefact; the last one is held back unless all of them are what was written."""

    def verify(chunks: Iterator[bytes]) -> Iterator[bytes]:
        sha256, last = hashlib.sha256(), b""
        for chunk in chunks:
            if last:
                yield last
            sha256.update(chunk)
            last = chunk
        if sha256.hexdigest() != artefact.sha256:
            raise ProcessingFailed.damaged_result()
        yield last

    with source as chunks:
        yield verify(chunks)


def key_name(request: Request) -> str:
    """The name of the request's API key; empty without keys."""
    return request.scope["state"].get("key") or ""


def _voxels(file: File, slices: int | None) -> int:
    """How many voxels a conversion reads."""
    count, rows, columns = file.job.shape(file.source)
    return rows * columns * (count if slices is None else min(slices, count))


def rendered_etag(job: StoredJob, source: str, name: str) -> str:
    """The entity tag of what is rendered for a request.

    Args:
        job: of which it is rendered.
        source: the artefact that it is rendered from.
        name: of what is rendered.

    Returns:
        Another one for another source, another review, another name, or another release.
    """
    review = f"-{job.results.review}" if job.results.review else ""
    _, etag = job.stat(source)
    return f"{etag}-{renderer_revision()}{review}-{name}"


def file_headers(file: File, etag: str) -> dict[str, str]:
    """The headers of a file. Its name is never that of an uploaded file, which may contain a patient's name.

    Args:
        file: the file.
        etag: its entity tag, unquoted.

    Returns:
        ETag, Cache-Control and Content-Disposition.
    """
    return {
        "ETag": f'"{etag}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'{file.disposition}; filename="{file.job.job_id}_{file.file_name}"',
    }


def is_current(request: Request, etag: str) -> bool:
    """Whether the client's copy is current.

    Args:
        request: whose If-None-Match lists the client's copies.
        etag: of the file, quoted.

    Returns:
        True if one of them is.
    """
    if_none_match = request.headers.get("If-None-Match", "")
    return if_none_match.strip() == "*" or etag in re.findall(r'"[^"]*"', if_none_match)
