"""Responses with files: streamed from the store as they are stored, or converted, with ETags for caches."""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from typing import Literal, NamedTuple, Self

import anyio
from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from metseg.contracts import ModelCard, Result
from metseg.errors import ModelRejected, NotFound
from metseg.results import SLICE_ARCHIVE, SliceArchive
from metseg.results.exports import Export, FinishedJob, renderer_revision
from metseg.storage import ObjectInfo, RangedFile
from metseg_api.gateway import Gateway

READ_AHEAD_BYTES = 2**18
"""Of a job's slices, fetched at a time: one or two slices."""


class File(NamedTuple):
    """A file of a job, as a response describes it.

    Attributes:
        job_id: of the job.
        source: the stored artefact that it is or is made of.
        media_type: of the response.
        file_name: without the job's ID, which is put before it.
        disposition: whether a browser saves or displays it.
    """

    job_id: str
    source: str
    media_type: str
    file_name: str
    disposition: Literal["attachment", "inline"] = "attachment"

    @classmethod
    def of(cls, job_id: str, export: Export) -> Self:
        """The file of an export.

        Args:
            job_id: of the job.
            export: which.

        Returns:
            Its description.
        """
        return cls(job_id, export.source, export.media_type, export.file_name, export.disposition)


class StoredJob(FinishedJob):
    """A finished job in the store.

    Args:
        gateway: whose store has it.
        job_id: of the job.
        read_ahead_bytes: of its slices, fetched at a time.
    """

    def __init__(self, gateway: Gateway, job_id: str, read_ahead_bytes: int = READ_AHEAD_BYTES) -> None:
        self._gateway = gateway
        self._job_id = job_id
        self._read_ahead_bytes = read_ahead_bytes

    @cached_property
    def _result(self) -> Result:
        return self._gateway.jobs.result(self._job_id)

    def result(self) -> Result:
        """See FinishedJob."""
        return self._result

    def model_card(self) -> ModelCard | None:
        """See FinishedJob."""
        try:
            return self._gateway.registry.card(self._result.model_version)
        except (NotFound, ModelRejected):  # a version may be deleted while its results stay
            return None

    def finished_at(self) -> datetime | None:
        """See FinishedJob."""
        return self._gateway.jobs.get(self._job_id).finished_at

    def artefact(self, name: str) -> bytes:
        """See FinishedJob."""
        return self._gateway.store.get(self._key(name))

    def slice_png(self, index: int) -> bytes:
        """See FinishedJob."""
        return self._slices.read_slice(index)

    @cached_property
    def _slices(self) -> SliceArchive:
        info = self._gateway.store.stat(self._key(SLICE_ARCHIVE))
        return SliceArchive(io.BufferedReader(RangedFile(self._gateway.store, info, self._read_ahead_bytes)))

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    @cached_property
    def _prefix(self) -> str:
        return self._gateway.jobs.results_prefix(self._job_id)


class StoredResponse(StreamingResponse):
    """Streams an object; the store's connection is released however the response ends."""

    def __init__(
        self, source: AbstractContextManager[Iterator[bytes]], headers: dict[str, str], media_type: str
    ) -> None:
        self._source = source
        super().__init__(source.__enter__(), headers=headers, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as in ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._source.__exit__, None, None, None)


async def export_response(
    gateway: Gateway, request: Request, job_id: str, export: Export, headers: Mapping[str, str] | None = None
) -> Response:
    """An export of a job: streamed if it is stored in that form, otherwise converted.

    Args:
        gateway: the gateway.
        request: the request for it.
        job_id: of the job.
        export: which.
        headers: more headers.

    Returns:
        The file; 304 if the client's copy is current.
    """
    file = File.of(job_id, export)

    def is_stored() -> bool:
        if export.is_dicom:
            return True
        if export.format != "nifti":
            return False
        grid = gateway.jobs.result(job_id).grid
        return grid is None or grid.nifti is None  # a NIfTI upload gets its own grid back

    if await to_thread.run_sync(is_stored):
        return await stored_response(gateway, request, file)
    return await converted_response(gateway, request, file, export.make, headers=headers)


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
        info = _stat(gateway, file)
        headers = file_headers(file, info.etag)
        if is_current(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        headers["Content-Length"] = str(info.size)
        return StoredResponse(gateway.store.stream(info.key), headers, file.media_type)

    return await to_thread.run_sync(respond)


async def converted_response(
    gateway: Gateway,
    request: Request,
    file: File,
    make: Callable[[FinishedJob], bytes],
    *,
    quick: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A file that is made for each request.

    Args:
        gateway: the gateway.
        request: the request for it.
        file: which; it changes only with its source and with the code that renders it.
        make: makes it.
        quick: whether that takes no longer than fetching it, so that it need not wait behind slow conversions.
        headers: more headers.

    Returns:
        The file; 304 if the client's copy is current.
    """
    info = await to_thread.run_sync(_stat, gateway, file)
    all_headers = file_headers(file, rendered_etag(info, file.file_name)) | dict(headers or {})
    if is_current(request, all_headers["ETag"]):
        return Response(status_code=304, headers=all_headers)
    job = StoredJob(gateway, file.job_id)
    content = await to_thread.run_sync(make, job, limiter=None if quick else gateway.threads.conversions)
    return Response(content, headers=all_headers, media_type=file.media_type)


def _stat(gateway: Gateway, file: File) -> ObjectInfo:
    return gateway.store.stat(gateway.jobs.artefact_key(file.job_id, file.source))


def rendered_etag(source: ObjectInfo, name: str) -> str:
    """The entity tag of what is rendered for a request.

    Args:
        source: the object that it is rendered from.
        name: of what is rendered.

    Returns:
        Another one for another source, another name, or another release.
    """
    return f"{source.etag}-{renderer_revision()}-{name}"


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
        "Content-Disposition": f'{file.disposition}; filename="{file.job_id}_{file.file_name}"',
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
