"""Artefacts on their way out: streamed from the store as they lie there, or converted, with validators for caches."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property, partial
from typing import NamedTuple

import anyio
from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from metseg import outputs
from metseg.contracts import JobStatus, ModelCard, Result
from metseg.errors import ModelRejected, NotFinished, NotFound
from metseg.jobs import Jobs
from metseg.objects import ObjectInfo
from metseg.outputs import Kept
from metseg_api.gateway import Gateway


class Download(NamedTuple):
    """What a browser is told of a file: its media type, the end of its name, and whether it is shown or saved."""

    media_type: str
    suffix: str
    disposition: str = "attachment"


class Artefact(NamedTuple):
    """An object of a job, and what it becomes on its way out."""

    job_id: str
    name: str
    download: Download


class StoredJob(Kept):
    """What the store keeps of a job that succeeded."""

    def __init__(self, gateway: Gateway, job_id: str) -> None:
        self._gateway = gateway
        self._job_id = job_id

    @cached_property
    def _result(self) -> Result:
        return self._gateway.jobs.result(self._job_id)

    def result(self) -> Result:
        """As of Kept."""
        return self._result

    def card(self) -> ModelCard | None:
        """As of Kept."""
        try:
            return self._gateway.registry.card(self._result.model_version)
        except (NotFound, ModelRejected):  # a version may be taken away; what it found stays
            return None

    def made_at(self) -> datetime | None:
        """As of Kept."""
        return self._gateway.jobs.get(self._job_id).finished_at

    def get(self, name: str) -> bytes:
        """As of Kept."""
        return self._gateway.store.get(self._gateway.jobs.artefact_key(self._job_id, name))


class StoredResponse(StreamingResponse):
    """Streams an object; the store's connection is given back however the answer ends."""

    def __init__(
        self, source: AbstractContextManager[Iterator[bytes]], headers: dict[str, str], media_type: str
    ) -> None:
        self._source = source
        super().__init__(source.__enter__(), headers=headers, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it, as ASGI has it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._source.__exit__, None, None, None)


def require_success(jobs: Jobs, job_id: str) -> None:
    """Refuse a job that has no results.

    Raises:
        NotFound: there is no such job.
        NotFinished: it waits, runs, failed or was cancelled.
    """
    status = jobs.get(job_id).status
    if status != JobStatus.SUCCEEDED:
        raise NotFinished(f"The job is {status}, so it has no results{'' if status.final else ' yet'}.")


async def stored(gateway: Gateway, request: Request, artefact: Artefact) -> Response:
    """An artefact as it lies in the store; 304 where the client has it already."""

    def answer() -> Response:
        info = _stat(gateway, artefact)
        headers = headers_of(artefact, info.etag)
        if known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        headers["Content-Length"] = str(info.size)
        return StoredResponse(gateway.store.stream(info.key), headers, artefact.download.media_type)

    return await to_thread.run_sync(answer)


async def nifti(gateway: Gateway, request: Request, artefact: Artefact) -> Response:
    """A NIfTI artefact: as it lies in the store, or in the order of the uploaded volume where that was NIfTI."""

    def goes_back() -> bool:
        require_success(gateway.jobs, artefact.job_id)
        grid = gateway.jobs.result(artefact.job_id).grid
        return grid is not None and grid.nifti is not None

    if await to_thread.run_sync(goes_back):
        return await made(gateway, request, artefact, partial(outputs.as_uploaded, name=artefact.name))
    return await stored(gateway, request, artefact)


async def made(
    gateway: Gateway, request: Request, artefact: Artefact, make: Callable[[Kept], bytes], **headers: str
) -> Response:
    """What is made of a job at each call; 304 where the client has it already.

    Args:
        gateway: the parts.
        request: asked for it.
        artefact: names the object by which it is told whether anything changed.
        make: makes it.
        headers: more of them, with underscores for hyphens.
    """
    info = await to_thread.run_sync(_stat, gateway, artefact)
    told = headers_of(artefact, f"{info.etag}-{artefact.download.suffix}")
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    if known(request, told["ETag"]):
        return Response(status_code=304, headers=told)
    kept = StoredJob(gateway, artefact.job_id)
    content = await to_thread.run_sync(make, kept, limiter=gateway.threads.conversions)
    return Response(content, headers=told, media_type=artefact.download.media_type)


def _stat(gateway: Gateway, artefact: Artefact) -> ObjectInfo:
    require_success(gateway.jobs, artefact.job_id)
    return gateway.store.stat(gateway.jobs.artefact_key(artefact.job_id, artefact.name))


def headers_of(artefact: Artefact, etag: str) -> dict[str, str]:
    """The headers of an artefact. Its name is ours, not that of an uploaded file, which may name a patient."""
    name = f"{artefact.job_id}_{artefact.download.suffix}"
    return {
        "ETag": f'"{etag}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'{artefact.download.disposition}; filename="{name}"',
    }


def known(request: Request, etag: str) -> bool:
    """Whether the client has that version of a file already."""
    given = request.headers.get("If-None-Match", "")
    return given.strip() == "*" or etag in re.findall(r'"[^"]*"', given)
