"""Artefacts on their way out: streamed from the store as they lie there, or converted, with validators for caches."""

import io
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

from metseg.contracts import ModelCard, Result
from metseg.errors import ModelRejected, NotFound
from metseg.results import PACK, Pack, exports
from metseg.results.exports import Kept
from metseg.storage import ObjectInfo, RangedFile
from metseg_api.gateway import Gateway

AHEAD_BYTES = 2**18
"""Of a job's pictures, fetched at a time: one or two slices."""


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

    def __init__(self, gateway: Gateway, job_id: str, ahead_bytes: int = AHEAD_BYTES) -> None:
        """`ahead_bytes` of the pictures are fetched at a time."""
        self._gateway = gateway
        self._job_id = job_id
        self._ahead_bytes = ahead_bytes

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
        return self._gateway.store.get(self._key(name))

    def picture(self, index: int) -> bytes:
        """As of Kept."""
        if self._pack is None:
            return self.get(f"slices/{index:04d}.png")
        return self._pack.picture(index)

    @cached_property
    def _pack(self) -> Pack | None:
        """The pictures; None where each is an object of its own, as it was before they were packed."""
        try:
            info = self._gateway.store.stat(self._key(PACK))
        except NotFound:
            return None
        return Pack(io.BufferedReader(RangedFile(self._gateway.store, info, self._ahead_bytes)))

    def _key(self, name: str) -> str:
        return f"{self._folder}{name}"

    @cached_property
    def _folder(self) -> str:
        return self._gateway.jobs.results(self._job_id)


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
        grid = gateway.jobs.result(artefact.job_id).grid
        return grid is not None and grid.nifti is not None

    if await to_thread.run_sync(goes_back):
        return await made(gateway, request, artefact, partial(exports.as_uploaded, name=artefact.name))
    return await stored(gateway, request, artefact)


async def made(
    gateway: Gateway,
    request: Request,
    artefact: Artefact,
    make: Callable[[Kept], bytes],
    *,
    quick: bool = False,
    **headers: str,
) -> Response:
    """What is made of a job at each call; 304 where the client has it already.

    Args:
        gateway: the parts.
        request: asked for it.
        artefact: names the object by which it is told whether anything changed.
        make: makes it.
        quick: whether that takes no longer than fetching it, so that it need not wait for slow ones.
        headers: more of them, with underscores for hyphens.
    """
    info = await to_thread.run_sync(_stat, gateway, artefact)
    told = headers_of(artefact, f"{info.etag}-{artefact.download.suffix}")
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    if known(request, told["ETag"]):
        return Response(status_code=304, headers=told)
    kept = StoredJob(gateway, artefact.job_id)
    content = await to_thread.run_sync(make, kept, limiter=None if quick else gateway.threads.conversions)
    return Response(content, headers=told, media_type=artefact.download.media_type)


def _stat(gateway: Gateway, artefact: Artefact) -> ObjectInfo:
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
